package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// Listen opens the bindings of all connectors. Clients that connect wait until
// [Relay.Run] serves them. [Relay.Run] calls Listen itself; call it before to
// learn the addresses, or to open privileged ports before dropping privileges.
//
// The error holds every binding that failed, joined with [errors.Join], each a
// *[postern.FieldError] with a path such as "Connectors[0].Bindings[1]"; then
// none is open. A host without IPv6, or without IPv4, is no reason to fail:
// where a connector has another binding, those of the missing family are left
// out of [Relay.Addrs], with a line at Warn in the log for each.
func (r *Relay) Listen() error {
	opened, err := r.listenOnce()
	if err == nil {
		p := r.snap.Load()
		tellListening(p.rules, p.log, opened)
	}
	return err
}

func (r *Relay) listenOnce() (opened []netip.AddrPort, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isClosed() {
		return nil, ErrClosed
	}
	if r.listening {
		return nil, nil
	}
	if opened, err = r.listen(r.snap.Load()); err == nil {
		r.listening = true
	}
	return opened, err
}

// tellListening tells the log of the connectors that have just been bound.
func tellListening(p *policy.Rules, log *slog.Logger, opened []netip.AddrPort) {
	for _, c := range p.Connectors {
		if slices.ContainsFunc(c.Bindings, func(b netip.AddrPort) bool {
			return slices.Contains(opened, b)
		}) {
			log.Info("listening", logkey.Connector, c.Name, logkey.Addresses, c.Bindings)
		}
	}
}

// listen opens what p binds and is not open yet, and returns that, then
// installs p. On an error nothing has changed.
func (r *Relay) listen(p *snapshot) ([]netip.AddrPort, error) {
	var (
		opened = make(map[netip.AddrPort]net.Listener)
		ports  = make(map[string]netip.AddrPort)
		errs   []error
		// Bindings of a family that the host does not have.
		lacking []error
	)
	connectors := make([]*connector.Connector, len(p.cfg.Connectors))
	for i, c := range p.cfg.Connectors {
		connectors[i] = c
		if c == nil || c.Disabled {
			continue
		}
		bound := *c
		bound.Bindings = make([]netip.AddrPort, 0, len(c.Bindings))
		var missing []error
		for j, b := range c.Bindings {
			key := fmt.Sprint(c.Name, " ", j, " ", b)
			if known, ok := r.ports[key]; ok && b.Port() == 0 {
				b = known
			}
			if r.listeners[b] == nil && opened[b] == nil {
				l, err := p.cfg.listen(b)
				if err != nil {
					err = &postern.FieldError{
						Field: fmt.Sprintf("Connectors[%d].Bindings[%d]", i, j), Err: err,
					}
					if isMissingFamily(err, b.Addr()) {
						missing = append(missing, err)
					} else {
						errs = append(errs, err)
					}
					continue
				}
				if b.Port() == 0 {
					b = netip.AddrPortFrom(b.Addr(), addrPort(l.Addr()).Port())
					ports[key] = b
				}
				opened[b] = l
			}
			bound.Bindings = append(bound.Bindings, b)
		}
		if len(bound.Bindings) == 0 {
			errs = append(errs, missing...)
		}
		lacking = append(lacking, missing...)
		connectors[i] = &bound
	}
	if len(errs) == 0 {
		if rules, err := p.rules.Bound(connectors); err != nil {
			errs = append(errs, err)
		} else {
			// A copy, since p may be in use: messages are submitted before
			// anything listens.
			bound := *p
			bound.rules, bound.cfg.Connectors = rules, connectors
			bound.intake = r.newIntake(&bound)
			p = &bound
		}
	}
	if err := errors.Join(errs...); err != nil {
		for _, l := range opened {
			_ = l.Close()
		}
		return nil, err
	}
	for _, err := range lacking {
		p.log.Warn("the host does not have the address family of a binding, which is left out",
			logkey.Err, err)
	}
	for b, l := range opened {
		r.listeners[b] = l
		if r.serving {
			go r.serve(l)
		}
	}
	for k, b := range ports {
		r.ports[k] = b
	}
	r.install(p)
	return slices.Collect(maps.Keys(opened)), nil
}

// install makes p the configuration for new sessions and deliveries, and closes
// the listeners it no longer binds.
func (r *Relay) install(p *snapshot) {
	r.snap.Store(p)
	r.setPressure(p.cfg.Pressure)
	r.server.Apply(r.settings(p))
	wanted := make(map[netip.AddrPort]bool)
	for _, c := range p.rules.Connectors {
		for _, b := range c.Bindings {
			wanted[b] = true
		}
	}
	for b, l := range r.listeners {
		if !wanted[b] {
			_ = l.Close()
			delete(r.listeners, b)
		}
	}
}

// isMissingFamily reports whether a binding failed because the host has no
// addresses of its family: the kernel does not know it, or none is set up.
func isMissingFamily(err error, a netip.Addr) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) ||
		a.IsUnspecified() && errors.Is(err, syscall.EADDRNOTAVAIL)
}

// listen listens on one family only: 0.0.0.0 does not take IPv6 connections.
func (cfg *Config) listen(b netip.AddrPort) (net.Listener, error) {
	network := "tcp4"
	if b.Addr().Is6() {
		network = "tcp6"
	}
	if cfg.Listen != nil {
		return cfg.Listen(context.Background(), network, b.String())
	}
	// The clocks of the server end dead connections; keep-alive probes would
	// only cost system calls.
	l := net.ListenConfig{KeepAlive: -1}
	return l.Listen(context.Background(), network, b.String())
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// Addrs returns the addresses that the named connector listens on, after
// Listen: a binding with port 0 has its real port here, and one that the host
// cannot have is left out (see [Relay.Listen]).
func (r *Relay) Addrs(name string) []netip.AddrPort {
	for _, c := range r.snap.Load().cfg.Connectors {
		if c != nil && c.Name == name {
			return append([]netip.AddrPort(nil), c.Bindings...)
		}
	}
	return nil
}
