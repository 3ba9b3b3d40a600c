package simtest

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/relaytest"
)

// peer is a next hop with ways of its own.
type peer struct {
	world         *World
	name, address string
	script        func(relaytest.Step) answer
	tls           *tls.Config
	ways

	mu       sync.Mutex
	sessions int
	conns    map[net.Conn]bool
	done     chan struct{}
}

// ways are what is particular of a peer.
type ways struct {
	pipelining, chunking bool
	// runs the octets of a chunk that it refuses as commands, as go-smtp 0.25.0
	// did: there what stands in a message could become one.
	runs     bool
	oneByOne bool // each reply is written by itself, however many are due
	pieces   bool // replies are written in parts
	latency  time.Duration
	work     time.Duration // on a message, until it is answered
	most     int           // messages on a connection; 0 is no limit
}

func (w *World) drawWays() ways {
	v := ways{
		pipelining: w.chance(0.85), chunking: w.chance(0.7), oneByOne: w.chance(0.3),
		pieces: w.chance(0.3), latency: w.between(0, 60*time.Millisecond),
		work: w.between(0, 200*time.Millisecond),
	}
	v.runs = v.chunking && w.chance(0.4)
	if w.chance(0.4) {
		v.most = 1 + w.below(12)
	}
	return v
}

// start begins to serve, and ends with the test.
func (p *peer) start() {
	l, err := p.world.net.Listen(context.Background(), "tcp", p.address)
	if err != nil {
		p.world.t.Fatal(err)
	}
	p.conns, p.done = make(map[net.Conn]bool), make(chan struct{})
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := p.keep(c)
			serving.Go(func() { p.serve(c, n) })
		}
	})
	p.world.t.Cleanup(func() {
		close(p.done)
		_ = l.Close()
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		serving.Wait()
	})
}

// keep numbers a connection.
func (p *peer) keep(c net.Conn) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions++
	p.conns[c] = true
	return p.sessions
}

func (p *peer) serve(c net.Conn, session int) {
	newDialogue(p, c, session).run()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
	_ = c.Close()
}
