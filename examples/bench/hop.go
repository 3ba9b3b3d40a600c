package main

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/postern-mail/postern/examples/internal/delay"
	"github.com/postern-mail/postern/examples/internal/loopback"
	"github.com/postern-mail/postern/examples/internal/smtpload"
	"github.com/postern-mail/postern/examples/internal/smtpsink"
)

// oneWay is what makes a host 50 ms away.
const oneWay = 25 * time.Millisecond

// sink is who counts what arrives.
type sink interface {
	Wait(ctx context.Context, recipients int) error
	Stop()
}

// hop is a running next hop, and what else a server needs there.
type hop struct {
	id     identity
	sink   sink
	addr   string // of the sink, or of what stands before it
	resolv string // for the place of /etc/resolv.conf
	closes []func()
}

func (h *hop) close() {
	for _, f := range h.closes {
		defer f()
	}
}

// newHop returns what start has started, or nothing of it.
func (b *bench) newHop(start func(*hop) error) (*hop, error) {
	h := &hop{id: b.identity}
	if err := start(h); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// open starts the next hop of c. received is told of the mail that a sink of
// our own takes; nil is nobody.
func (b *bench) open(
	ctx context.Context, c comparison, dir string, received func(recipients []string),
) (*hop, error) {
	return b.newHop(func(h *hop) (err error) {
		if !c.own {
			return h.postfixSink(ctx)
		}
		config := smtpsink.Config{Keywords: keywords(), Received: received}
		if c.chunking {
			config.Keywords = append(config.Keywords, "CHUNKING")
		}
		if c.tls {
			if config.TLS, err = b.identity.serverTLS(); err != nil {
				return err
			}
		}
		if c.mx {
			if config.Addrs, err = h.exchangers(dir); err != nil {
				return err
			}
		}
		s, err := h.ownSink(config)
		if err != nil {
			return err
		}
		if h.sink, h.addr = s, s.Addr(); c.far {
			h.addr, err = h.away(h.addr)
		}
		return err
	})
}

func (h *hop) postfixSink(ctx context.Context) (err error) {
	if h.addr, err = loopback.FreeAddr(); err != nil {
		return err
	}
	s, err := smtpload.StartSink(ctx, h.addr)
	if err == nil {
		h.sink, h.closes = s, append(h.closes, s.Stop)
	}
	return err
}

func (h *hop) ownSink(c smtpsink.Config) (*smtpsink.Sink, error) {
	s, err := smtpsink.Start(c)
	if err == nil {
		h.closes = append(h.closes, s.Stop)
	}
	return s, err
}

// exchangers returns where the domains' mail exchangers are, and starts the DNS
// that tells so.
func (h *hop) exchangers(dir string) ([]string, error) {
	addr, err := loopback.FreeAddr()
	if err != nil {
		return nil, err
	}
	return exchangersAt(addr), h.dns(dir, usual)
}

// away puts a host 50 ms away, and returns where it is then: at the first of
// addrs.
func (h *hop) away(host string, addrs ...string) (string, error) {
	p, err := delay.Start(host, oneWay, addrs...)
	if err != nil {
		return "", err
	}
	h.closes = append(h.closes, p.Stop)
	return p.Addr(), nil
}

// ready is how a server is to take mail, at a free address, and pass it on to
// h.
func (h *hop) ready(c comparison) (setup, error) {
	relay, err := loopback.FreeAddr()
	host, port, _ := net.SplitHostPort(h.addr)
	n, _ := strconv.Atoi(port)
	s := setup{
		relay: relay, host: host, port: n, resolv: h.resolv, connections: c.connections,
		streams: c.streams > 0,
	}
	if c.mx {
		s.host = ""
	}
	if c.tls {
		s.certificate, s.key = h.id.certificate, h.id.key
	}
	if c.signed {
		s.dkim = h.id.dkim
	}
	return s, err
}

// keywords are what a next hop offers.
func keywords() []string { return []string{"PIPELINING", "8BITMIME", "SIZE 0"} }
