package main

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/postern-mail/postern/examples/internal/delay"
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

// open starts the next hop of c.
func (b *bench) open(ctx context.Context, c comparison, dir string) (_ *hop, err error) {
	h := &hop{id: b.identity}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if !c.own {
		return h, h.postfixSink(ctx)
	}
	config := smtpsink.Config{Keywords: keywords()}
	if c.chunking {
		config.Keywords = append(config.Keywords, "CHUNKING")
	}
	if c.tls {
		if config.TLS, err = b.identity.serverTLS(); err != nil {
			return nil, err
		}
	}
	if c.mx {
		if err := h.exchangers(dir, &config); err != nil {
			return nil, err
		}
	}
	s, err := smtpsink.Start(config)
	if err != nil {
		return nil, err
	}
	h.sink, h.addr, h.closes = s, s.Addr(), append(h.closes, s.Stop)
	if c.far {
		return h, h.away()
	}
	return h, nil
}

func (h *hop) postfixSink(ctx context.Context) (err error) {
	if h.addr, err = freeAddr(); err != nil {
		return err
	}
	s, err := smtpload.StartSink(ctx, h.addr)
	if err == nil {
		h.sink, h.closes = s, append(h.closes, s.Stop)
	}
	return err
}

// exchangers has the sink listen where the domains' mail exchangers are, and
// starts the DNS that tells so.
func (h *hop) exchangers(dir string, c *smtpsink.Config) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(addr)
	for _, host := range exchangerHosts() {
		c.Addrs = append(c.Addrs, net.JoinHostPort(host, port))
	}
	stop, resolv, err := startDNS(dir)
	if err == nil {
		h.resolv, h.closes = resolv, append(h.closes, stop)
	}
	return err
}

// away puts the sink 50 ms away.
func (h *hop) away() error {
	p, err := delay.Start(h.addr, oneWay)
	if err == nil {
		h.addr, h.closes = p.Addr(), append(h.closes, p.Stop)
	}
	return err
}

// ready is how a server is to take mail, at a free address, and pass it on to
// h.
func (h *hop) ready(c comparison) (setup, error) {
	relay, err := freeAddr()
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

// freeAddr is an address of this host at which nobody listens now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func confName(dir string) string { return filepath.Join(dir, "resolv.conf") }

// keywords are what a next hop offers.
func keywords() []string { return []string{"PIPELINING", "8BITMIME", "SIZE 0"} }
