// Package delay is a proxy that is as far away as it is told: what is sent
// through it arrives later, and just as fast.
package delay

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	pieceSize = 32 << 10
	pieces    = 256 // under way in one direction: 8 MB at most
)

// Proxy passes connections on to a host.
type Proxy struct {
	target string
	oneWay time.Duration
	stop   chan struct{}
	done   sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	open    map[net.Conn]struct{}
	ports   []net.Listener
}

// Start listens at addrs, or at a free port of 127.0.0.1 without any, and
// passes what comes on to target. Each direction takes oneWay longer than it
// would, and a connection begins as late as it does between hosts that far
// apart: what target sends first arrives after four times oneWay. Pieces keep
// their order and do not wait for each other.
func Start(target string, oneWay time.Duration, addrs ...string) (*Proxy, error) {
	p := &Proxy{
		target: target, oneWay: oneWay, stop: make(chan struct{}),
		open: make(map[net.Conn]struct{}),
	}
	if len(addrs) == 0 {
		addrs = []string{"127.0.0.1:0"}
	}
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			p.Stop()
			return nil, err
		}
		p.ports = append(p.ports, l)
	}
	for _, l := range p.ports {
		p.done.Go(func() { p.accept(l) })
	}
	return p, nil
}

// Addr is the first address at which p listens.
func (p *Proxy) Addr() string { return p.ports[0].Addr().String() }

// Stop ends all connections and returns when nothing is left of them.
func (p *Proxy) Stop() {
	p.mu.Lock()
	if !p.stopped {
		close(p.stop)
	}
	p.stopped = true
	for _, l := range p.ports {
		l.Close()
	}
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.done.Wait()
}

func (p *Proxy) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.wait(time.Now().Add(10 * time.Millisecond))
			continue
		}
		p.done.Go(func() { p.connect(c) })
	}
}

// connect opens the second half of a connection when the last part of a
// handshake would have arrived: the client has seen it succeed at once.
func (p *Proxy) connect(client net.Conn) {
	defer client.Close()
	if !p.hold(client) {
		return
	}
	defer p.drop(client)
	up := p.read(client)
	p.wait(time.Now().Add(3 * p.oneWay))
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		discard(up)
		return
	}
	defer server.Close()
	if !p.hold(server) {
		discard(up)
		return
	}
	defer p.drop(server)
	down := p.read(server)
	var both sync.WaitGroup
	both.Go(func() { p.write(server, client, up) })
	both.Go(func() { p.write(client, server, down) })
	both.Wait()
}

// hold notes a connection for Stop. It reports false when that was called.
func (p *Proxy) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		c.Close()
		return false
	}
	p.open[c] = struct{}{}
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// piece is what was read at once; nil is the end.
type piece struct {
	due  time.Time
	data []byte
}

// read returns what comes from src, with the time at which it is to go on.
func (p *Proxy) read(src net.Conn) <-chan piece {
	queue := make(chan piece, pieces)
	p.done.Go(func() {
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
	})
	return queue
}

// write passes on to dst what was read from src, each piece when it is due.
func (p *Proxy) write(dst, src net.Conn, queue <-chan piece) {
	defer discard(queue)
	for next := range queue {
		p.wait(next.due)
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

func (p *Proxy) wait(until time.Time) {
	d := time.Until(until)
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.stop:
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
