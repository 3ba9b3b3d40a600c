// Package loopback serves connections on addresses of this host, finds such
// addresses, and waits until somebody serves them.
package loopback

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Server is what serves.
type Server struct {
	serve func(context.Context, net.Conn)
	stop  context.CancelFunc
	done  sync.WaitGroup
	ports []net.Listener
}

// Serve listens at addrs, or at a free port of 127.0.0.1 without any, and calls
// serve for each connection, on a goroutine of its own. The connection ends
// when serve returns; both are to end with the context.
func Serve(serve func(context.Context, net.Conn), addrs ...string) (*Server, error) {
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{serve: serve, stop: stop}
	if len(addrs) == 0 {
		addrs = []string{"127.0.0.1:0"}
	}
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			s.Stop()
			return nil, err
		}
		s.ports = append(s.ports, l)
	}
	for _, l := range s.ports {
		s.done.Go(func() { s.accept(ctx, l) })
	}
	return s, nil
}

// Addr is the first address at which s listens.
func (s *Server) Addr() string { return s.ports[0].Addr().String() }

// Stop ends all connections and returns when nothing is left of them.
func (s *Server) Stop() {
	s.stop()
	for _, l := range s.ports {
		l.Close()
	}
	s.done.Wait()
}

func (s *Server) accept(ctx context.Context, l net.Listener) {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			s.done.Go(func() { s.handle(ctx, c) })
		case ctx.Err() != nil:
			return
		default:
			time.Sleep(10 * time.Millisecond) // too many files are open
		}
	}
}

func (s *Server) handle(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	s.serve(ctx, c)
}

// Await returns when somebody answers at addr. It gives up after two minutes.
func Await(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("nobody listens at %s: %w", addr, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// FreeAddr is an address of this host at which nobody listens now. Its port is
// below those that the system gives to clients: none of them takes it before
// whom it is for.
func FreeAddr() (addr string, err error) {
	for range 100 {
		var l net.Listener
		l, err = net.Listen("tcp4", fmt.Sprint("127.0.0.1:", 10_000+rand.N(20_000)))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", err
}
