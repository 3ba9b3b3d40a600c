// Package delay is a proxy that is as far away as it is told: what is sent
// through it arrives later, and just as fast.
package delay

import (
	"bytes"
	"context"
	"net"
	"sync"
	"time"

	"github.com/postern-mail/postern/examples/internal/loopback"
)

const (
	pieceSize = 32 << 10
	pieces    = 256 // under way in one direction: 8 MB at most
)

// Proxy passes connections on to a host.
type Proxy struct {
	*loopback.Server
	target string
	oneWay time.Duration
}

// Start listens at addrs, or at a free port of 127.0.0.1 without any, and
// passes what comes on to target. Each direction takes oneWay longer than it
// would, and a connection begins as late as it does between hosts that far
// apart: what target sends first arrives after four times oneWay. Pieces keep
// their order and do not wait for each other.
func Start(target string, oneWay time.Duration, addrs ...string) (*Proxy, error) {
	p := &Proxy{target: target, oneWay: oneWay}
	s, err := loopback.Serve(p.connect, addrs...)
	if err != nil {
		return nil, err
	}
	p.Server = s
	return p, nil
}

// connect opens the second half of a connection when the last part of a
// handshake would have arrived: the client has seen it succeed at once.
func (p *Proxy) connect(ctx context.Context, client net.Conn) {
	up := p.read(client)
	pause(ctx, time.Now().Add(3*p.oneWay))
	var d net.Dialer
	server, err := d.DialContext(ctx, "tcp", p.target)
	if err != nil {
		client.Close()
		discard(up)
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { server.Close() })()
	down := p.read(server)
	var both sync.WaitGroup
	both.Go(func() { write(ctx, server, client, up) })
	both.Go(func() { write(ctx, client, server, down) })
	both.Wait()
}

// piece is what was read at once; nil is the end.
type piece struct {
	due  time.Time
	data []byte
}

// read returns what comes from src, with the time at which it is to go on.
func (p *Proxy) read(src net.Conn) <-chan piece {
	queue := make(chan piece, pieces)
	go func() {
		defer close(queue)
		buf := make([]byte, pieceSize)
		for {
			n, err := src.Read(buf)
			due := time.Now().Add(p.oneWay)
			if n > 0 {
				queue <- piece{due, bytes.Clone(buf[:n])}
			}
			if err != nil {
				queue <- piece{due, nil}
				return
			}
		}
	}()
	return queue
}

// write passes on to dst what was read from src, each piece when it is due. It
// returns when nothing more comes from src.
func write(ctx context.Context, dst, src net.Conn, queue <-chan piece) {
	defer discard(queue)
	for next := range queue {
		pause(ctx, next.due)
		if next.data == nil {
			closeWrite(dst)
			return
		}
		if _, err := dst.Write(next.data); err != nil {
			src.Close() // or it would be read for nobody
			return
		}
	}
}

// pause waits for a time, or for the end of ctx.
func pause(ctx context.Context, until time.Time) {
	d := time.Until(until)
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	} else {
		c.Close()
	}
}

func discard(queue <-chan piece) {
	for range queue {
	}
}
