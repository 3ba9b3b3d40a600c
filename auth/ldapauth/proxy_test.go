package ldapauth_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands before a server, counts connections and breaks them.
type proxy struct {
	net.Listener
	mu             sync.Mutex
	live           map[net.Conn]bool
	accepted, most int
	silent         bool
	unheard        map[net.Conn]bool // those that spoke to silence
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, live: make(map[net.Conn]bool), unheard: make(map[net.Conn]bool)}
	var wg sync.WaitGroup
	t.Cleanup(func() { p.Close(); p.cut(); wg.Wait() })
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.live[client] = true
			p.accepted++
			p.most = max(p.most, len(p.live))
			p.mu.Unlock()
			wg.Go(func() {
				defer func() {
					client.Close()
					p.mu.Lock()
					delete(p.live, client)
					p.mu.Unlock()
				}()
				server, err := net.Dial("tcp", target)
				if err != nil {
					return
				}
				wg.Go(func() { io.Copy(server, &listener{client, p}); server.Close() })
				io.Copy(client, server)
			})
		}
	})
	return p
}

// listener reads from a client, until the proxy is silent.
type listener struct {
	net.Conn
	p *proxy
}

func (l *listener) Read(b []byte) (int, error) {
	for {
		n, err := l.Conn.Read(b)
		l.p.mu.Lock()
		silent := l.p.silent
		if silent && n > 0 {
			l.p.unheard[l.Conn] = true
		}
		l.p.mu.Unlock()
		if !silent || err != nil {
			return n, err
		}
	}
}

// silence makes it keep all that clients say, and all connections, until it is
// over.
func (p *proxy) silence(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = on
}

// await waits until there are as many connections.
func (p *proxy) await(t *testing.T, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		_, _, live := p.counts()
		if live == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Errorf("%d connections, want %d", live, want)
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.live {
		c.Close()
	}
}

func (p *proxy) counts() (accepted, most, live int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted, p.most, len(p.live)
}
