package relay

import (
	"cmp"
	"errors"
	"net/netip"
	"strings"
	"time"
)

// Reload gives the relay another configuration. Sessions under way go on under
// the one they began with; new ones, and all deliveries from now on, follow the
// new one. Bindings are opened and closed as needed. On an error nothing has
// changed.
//
// Hostname, MaxDeliveries, LeaseTime and EventLog cannot change: each that does
// is a *[postern.FieldError]. An empty Hostname is the old one. Spool, Logger,
// Resolver, Dial and Now stay as they were.
func (r *Relay) Reload(cfg Config) error {
	p, opened, err := r.reload(cfg)
	if err != nil {
		return err
	}
	tellListening(p.rules, p.log, opened)
	warn(p.rules, p.log)
	r.nodes.Announce()
	r.sched.Limit()
	return nil
}

func (r *Relay) reload(cfg Config) (*snapshot, []netip.AddrPort, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isClosed() {
		return nil, nil, ErrClosed
	}
	old := r.snap.Load().cfg
	if err := cfg.checkFixed(&old); err != nil {
		return nil, nil, err
	}
	cfg.Spool, cfg.Hostname, cfg.Logger = old.Spool, old.Hostname, old.Logger
	p, err := r.newSnapshot(cfg)
	if err != nil {
		return nil, nil, err
	}
	if r.listening {
		opened, err := r.listen(p)
		return r.snap.Load(), opened, err
	}
	r.install(p)
	return p, nil, nil
}

var errFixed = errors.New("cannot change while the relay exists: make another one")

// checkFixed reports what differs from the configuration that the relay was
// made with, and cannot.
func (cfg *Config) checkFixed(old *Config) error {
	var f faults
	if cfg.Hostname != "" && !strings.EqualFold(wireName(cfg.Hostname), old.Hostname) {
		f.add("Hostname", errFixed)
	}
	deliveries := func(c *Config) int { return cmp.Or(c.MaxDeliveries, defaultDeliveries) }
	if deliveries(cfg) != deliveries(old) {
		f.add("MaxDeliveries", errFixed)
	}
	lease := func(c *Config) time.Duration { return cmp.Or(c.LeaseTime, defaultLease) }
	if lease(cfg) != lease(old) {
		f.add("LeaseTime", errFixed)
	}
	if cfg.EventLog != old.EventLog {
		f.add("EventLog", errFixed)
	}
	return f.err()
}
