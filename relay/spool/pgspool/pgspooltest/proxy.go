package pgspooltest

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy passes connections on to a server, and can cut, stall and redirect
// them. Its methods may be called from many goroutines at once.
type Proxy struct {
	listener net.Listener

	mu      sync.Mutex
	changed *sync.Cond // when stalled ends, or a connection
	target  string
	cut     bool
	stalled bool
	open    map[net.Conn]bool
	budget  budget
}

// NewProxy makes a proxy before an address, such as that of Server.Addr. It
// ends with t.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, open: map[net.Conn]bool{}}
	p.changed = sync.NewCond(&p.mu)
	t.Cleanup(func() {
		l.Close()
		p.Cut()
	})
	go p.accept()
	return p
}

// URL returns the URL of a database with the proxy as its host.
func (p *Proxy) URL(t testing.TB, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = p.listener.Addr().String()
	return u.String()
}

// Cut ends all connections, and new ones at once, until Restore.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	p.endAll()
}

// Reset ends all connections. New ones are passed on.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endAll()
}

// Stall keeps connections and takes new ones, but passes nothing on until
// Restore, as a network does that loses everything.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = true
}

// Restore ends what Cut and Stall began. What was held back is passed on.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.stalled = false, false
	p.changed.Broadcast()
}

// Redirect ends all connections, and passes new ones on to another address.
func (p *Proxy) Redirect(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	p.endAll()
}

// endAll ends all connections, with the lock held.
func (p *Proxy) endAll() {
	for c := range p.open {
		c.Close()
		delete(p.open, c)
	}
	p.changed.Broadcast()
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(c)
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	if !p.enter(client) {
		return
	}
	defer p.leave(client)
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp4", target)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.enter(server) {
		return
	}
	defer p.leave(server)
	back := make(chan struct{})
	go func() {
		defer close(back)
		p.pass(client, server, FromServer)
	}()
	p.pass(server, client, FromClient)
	<-back
}

// pass copies until either end closes, and closes the other.
func (p *Proxy) pass(to, from net.Conn, side Side) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if !p.mayPass(from) {
			return
		}
		if !p.write(to, side, b[:n]) || err != nil {
			return
		}
	}
}

// mayPass waits while the proxy is stalled, and reports whether the connection
// still stands.
func (p *Proxy) mayPass(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.stalled && p.open[c] {
		p.changed.Wait()
	}
	return p.open[c]
}

// enter reports whether a connection may be used.
func (p *Proxy) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cut {
		p.open[c] = true
	}
	return !p.cut
}

func (p *Proxy) leave(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
	p.changed.Broadcast()
}
