// Package smtpsink is a next hop that takes all mail and keeps none of it. It
// offers what it is told to, so that the same load can be measured with and
// without an extension.
package smtpsink

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/examples/internal/loopback"
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
	*loopback.Server
	config               Config
	greeting             []byte
	messages, recipients atomic.Int64
}

// Start returns when the sink listens.
func Start(c Config) (*Sink, error) {
	s := &Sink{config: c, greeting: greeting(c)}
	server, err := loopback.Serve(s.serve, c.Addrs...)
	if err != nil {
		return nil, err
	}
	s.Server = server
	return s, nil
}

func (s *Sink) serve(ctx context.Context, c net.Conn) {
	if s.config.Silent {
		<-ctx.Done()
		return
	}
	newSession(ctx, s, c).run()
}

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
