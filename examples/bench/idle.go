package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"time"

	"github.com/postern-mail/postern/examples/internal/proc"
)

// idle prints what a session costs the gateway that has said EHLO and waits.
func (b *bench) idle(ctx context.Context) error {
	n := b.messages(1000)
	var each []float64
	for range b.rounds {
		got, err := inFolder(b.dir, func(dir string) (float64, error) {
			return b.idleOnce(ctx, dir, n)
		})
		if err != nil {
			return err
		}
		each = append(each, got)
	}
	slices.Sort(each)
	fmt.Fprintf(b.out, "\n(idle) %d idle sessions: %.1f KB each\n", n, each[len(each)/2])
	return nil
}

func (b *bench) idleOnce(ctx context.Context, dir string, n int) (each float64, err error) {
	set, err := (&hop{addr: "127.0.0.1:25"}).ready(comparison{})
	if err != nil {
		return 0, err
	}
	s, err := b.start(ctx, "gateway", dir, set)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	empty, err := proc.PSS(s.roots()...)
	if err != nil {
		return 0, err
	}
	conns, err := openSessions(ctx, set.relay, n)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return 0, err
	}
	pause(ctx, settle)
	full, err := proc.PSS(s.roots()...)
	return float64(full-empty) / 1024 / float64(n), err
}

// openSessions opens connections to the relay that say EHLO and nothing else.
func openSessions(ctx context.Context, relay string, n int) ([]net.Conn, error) {
	var conns []net.Conn
	var d net.Dialer
	for range n {
		c, err := d.DialContext(ctx, "tcp", relay)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return conns, err
		}
		text := textproto.NewConn(c)
		if _, _, err := text.ReadResponse(220); err != nil {
			return conns, err
		}
		if err := text.PrintfLine("EHLO idle.example.test"); err != nil {
			return conns, err
		}
		if _, _, err := text.ReadResponse(250); err != nil {
			return conns, err
		}
	}
	return conns, nil
}
