// Package smtpsink is a next hop that takes all mail and keeps none of it. It
// offers what it is told to, so that the same load can be measured with and
// without an extension.
package smtpsink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what a sink is like.
type Config struct {
	// Addrs are where it listens. Defaults to a free port of 127.0.0.1.
	Addrs []string
	// Keywords are what it offers after EHLO, such as "PIPELINING". It
	// understands PIPELINING and CHUNKING also where it does not offer them.
	Keywords []string
	// TLS has the certificate for STARTTLS. Defaults to no STARTTLS.
	TLS *tls.Config
	// Think is how long it waits before it answers what has come. Defaults to
	// 0.
	Think time.Duration
	// Silent takes connections and never says a word. Defaults to false.
	Silent bool
	// Received is told of each message before it is answered, by many
	// goroutines. It may not keep recipients. Defaults to nobody.
	Received func(recipients []string)
}

// Sink is a running sink.
type Sink struct {
	config               Config
	greeting             []byte
	messages, recipients atomic.Int64
	stop                 chan struct{}
	done                 sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	open    map[net.Conn]struct{}
	ports   []net.Listener
}

// Start returns when the sink listens.
func Start(c Config) (*Sink, error) {
	s := &Sink{
		config: c, greeting: greeting(c), stop: make(chan struct{}),
		open: make(map[net.Conn]struct{}),
	}
	if len(c.Addrs) == 0 {
		c.Addrs = []string{"127.0.0.1:0"}
	}
	for _, addr := range c.Addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			s.Stop()
			return nil, err
		}
		s.ports = append(s.ports, l)
	}
	for _, l := range s.ports {
		s.done.Go(func() { s.accept(l) })
	}
	return s, nil
}

// Addr is the first address at which s listens.
func (s *Sink) Addr() string { return s.ports[0].Addr().String() }

// Messages is how many have been taken so far.
func (s *Sink) Messages() int { return int(s.messages.Load()) }

// Recipients is how many the messages had that have been taken so far.
func (s *Sink) Recipients() int { return int(s.recipients.Load()) }

// Wait returns when mail for so many recipients has been taken since the start.
// It gives up after two minutes.
func (s *Sink) Wait(ctx context.Context, recipients int) error {
	deadline := time.Now().Add(2 * time.Minute)
	for s.Recipients() < recipients {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d recipients got mail", s.Recipients(), recipients)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// Stop ends all connections and returns when nothing is left of them.
func (s *Sink) Stop() {
	s.mu.Lock()
	if !s.stopped {
		close(s.stop)
	}
	s.stopped = true
	for _, l := range s.ports {
		l.Close()
	}
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}

func (s *Sink) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.done.Go(func() { s.serve(c) })
	}
}

func (s *Sink) serve(c net.Conn) {
	defer c.Close()
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return
	}
	s.open[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, c)
	}()
	if s.config.Silent {
		<-s.stop
		return
	}
	newSession(s, c).run()
}
