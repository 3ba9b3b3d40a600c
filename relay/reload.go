package relay

import "net/netip"

// Reload gives the relay another configuration. Sessions under way go on under
// the one they began with; new ones, and all deliveries from now on, follow the
// new one. Bindings are opened and closed as needed. On an error nothing has
// changed. Spool, Hostname, Logger, Resolver, Dial, MaxDeliveries, EventLog
// and Now stay as they were.
func (r *Relay) Reload(cfg Config) error {
	p, opened, err := r.reload(cfg)
	if err != nil {
		return err
	}
	tellListening(p.rules, p.log, opened)
	warn(p.rules, p.log)
	r.sched.Wake()
	return nil
}

func (r *Relay) reload(cfg Config) (*snapshot, []netip.AddrPort, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isClosed() {
		return nil, nil, ErrClosed
	}
	old := r.snap.Load().cfg
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
