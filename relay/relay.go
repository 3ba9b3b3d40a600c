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
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/attempt"
	"github.com/postern-mail/postern/relay/internal/dns"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	defaultDeliveries = 100
	defaultDrain      = 30 * time.Second
)

// Relay is a mail relay inside the application's process. Its methods may be
// called from many goroutines at once. Several relays live side by side in one
// process; each needs a spool of its own.
type Relay struct {
	snap     atomic.Pointer[snapshot]
	store    spool.Store
	client   *outbound.Client
	server   *smtpd.Server
	sched    *sched.Scheduler
	attempts *attempt.Deliverer
	rates    policy.Rates
	events   eventQueue
	eventLog *eventLog // nil if off
	headers  header.Pool
	monitor  *policy.Monitor
	memory   policy.Budget         // for messages being received
	held     atomic.Int32          // refusals held back, of clients that do not speak SMTP
	throttle func() *auth.Throttle // of every configuration's Verifier
	calls    callbacks

	mu        sync.Mutex
	listeners map[netip.AddrPort]net.Listener // by binding as bound
	ports     map[string]netip.AddrPort       // what a binding with port 0 became
	listening bool
	serving   bool // listeners are given to the server
	failed    chan error

	begin    sync.Once
	end      sync.Once
	killed   context.Context // ends with Close
	kill     context.CancelFunc
	leasing  context.CancelFunc // ends the scheduler
	working  context.CancelFunc // ends the attempts under way
	idle     chan struct{}      // closed when the scheduler has ended
	closed   chan struct{}      // closed by Shutdown and Close
	shutdown chan struct{}      // closed when Shutdown or Close is through
	// leftBehind names what did not end. It may be read after shutdown.
	leftBehind error
}

// New checks the configuration, reports every fault at once, and makes a relay.
// It starts nothing: no socket is opened and nothing is delivered before
// [Relay.Run].
//
// The error lists one *[postern.FieldError] for each fault; errors.As finds
// them.
func New(cfg Config) (*Relay, error) {
	cfg.Hostname = wireName(cfg.Hostname)
	r := &Relay{
		store:     cfg.Spool,
		listeners: make(map[netip.AddrPort]net.Listener),
		ports:     make(map[string]netip.AddrPort),
		failed:    make(chan error, 1),
		idle:      make(chan struct{}),
		closed:    make(chan struct{}),
		shutdown:  make(chan struct{}),
		throttle: sync.OnceValue(func() *auth.Throttle {
			return auth.NewThrottle(nil)
		}),
	}
	r.killed, r.kill = context.WithCancel(context.Background())
	r.events.log = logger(cfg)
	r.calls = newCallbacks(logger(cfg))
	client := outbound.Config{
		Hostname: cfg.Hostname, Logger: logger(cfg), Dial: boundDial(r.calls.dial, cfg.Dial),
		Resolver: dns.System(),
	}
	client.Own = func(a netip.AddrPort) bool { return r.snap.Load().rules.ListensAt(a) }
	if cfg.Resolver != nil {
		client.Resolver = boundResolver{calls: r.calls.resolver, of: cfg.Resolver}
	}
	r.client = outbound.New(client)
	p, err := r.newSnapshot(cfg)
	if err != nil {
		return nil, err
	}
	r.snap.Store(p)
	r.eventLog = newEventLog(&cfg)
	r.monitor = policy.NewMonitor(cfg.Spool)
	r.setPressure(cfg.Pressure)
	r.server = smtpd.New(smtpd.Config{
		Hostname: cfg.Hostname, Logger: p.log, Settings: r.settings(p),
	})
	r.attempts = r.newDeliverer()
	r.sched = sched.New(sched.Config{
		Store:       cfg.Spool,
		Concurrency: orDefault(cfg.MaxDeliveries, defaultDeliveries),
		RouteLimit:  func(k spool.Key) int { return r.snap.Load().routes.Limit(k) },
		Local:       routing.Local(),
		Owner:       ownerOf,
		Deliver:     r.deliver,
		Overdue:     r.overdue,
		Conclude:    r.attempts.Conclude,
		Logger:      p.log,
	})
	return r, nil
}

func (r *Relay) settings(p *snapshot) smtpd.Settings {
	return smtpd.Settings{
		CompleteDomain: p.rules.Complete, Memory: &r.memory,
		Connectors: p.rules.Set, TLS: p.cfg.TLS, Backend: &backend{relay: r, snapshot: p},
		Auth:              p.rules.Auth,
		RequireEncryption: p.cfg.RequireEncryption, Proxies: p.cfg.Proxies, XClient: p.cfg.XClient,
		WatchNAT:  p.cfg.NATGuard != NATOff,
		RefuseNAT: p.cfg.NATGuard == NATRefuse,
	}
}

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
			log.Info("listening", "connector", c.Name, "addresses", c.Bindings)
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
			"err", err)
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

// Run listens, serves and delivers until ctx ends, then drains: it accepts no
// more, lets messages and attempts under way finish within Config.DrainTimeout,
// and returns nil. Shutdown and Close end it too. An error means that it could
// not listen, that a listener failed, that something did not end (see
// [Relay.Shutdown]), or, with [ErrClosed], that the relay had ended before.
func (r *Relay) Run(ctx context.Context) error {
	if ctx == nil {
		return errNoContext
	}
	if err := r.Listen(); err != nil {
		return err
	}
	r.start()
	r.mu.Lock()
	r.serving = true
	for _, l := range r.listeners {
		go r.serve(l)
	}
	r.mu.Unlock()
	var failure error
	select {
	case <-ctx.Done():
	case <-r.closed:
	case failure = <-r.failed:
	}
	drain, cancel := context.WithTimeout(
		context.Background(), orDefault(r.snap.Load().cfg.DrainTimeout, defaultDrain),
	)
	defer cancel()
	if err := r.Shutdown(drain); err != nil {
		r.kill() // a Shutdown of the application's may have more time, but Run has not
	}
	<-r.shutdown
	return errors.Join(failure, r.leftBehind)
}

func (r *Relay) serve(l net.Listener) {
	if err := r.server.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) && !r.isClosed() {
		select {
		case r.failed <- err:
		default:
		}
	}
}

// Serve serves connections of one listener, and starts delivering. It returns
// nil after Shutdown or Close. The listener's address must match a connector's
// binding.
func (r *Relay) Serve(l net.Listener) error {
	if l == nil {
		return errors.New("relay: no listener")
	}
	if r.isClosed() {
		_ = l.Close()
		return ErrClosed
	}
	r.start()
	err := r.server.Serve(l)
	if r.isClosed() {
		return nil
	}
	return err
}

// start begins to deliver.
func (r *Relay) start() {
	r.begin.Do(func() {
		p := r.snap.Load()
		warn(p.rules, p.log)
		lease, stopLease := context.WithCancel(context.Background())
		work, stopWork := context.WithCancel(context.Background())
		r.leasing, r.working = stopLease, stopWork
		go func() {
			defer close(r.idle)
			r.sched.Run(lease, work)
		}()
		if r.eventLog != nil {
			go r.eventLog.tidy(lease)
		}
	})
}

// Reload gives the relay another configuration. Sessions under way go on under
// the one they began with; new ones, and all deliveries from now on, follow the
// new one. Bindings are opened and closed as needed. On an error nothing has
// changed. Spool, Hostname, Logger, Resolver, Dial, MaxDeliveries and EventLog
// stay as they were.
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

// Stats returns the totals of the queue.
func (r *Relay) Stats(ctx context.Context) (spool.Stats, error) {
	if ctx == nil {
		return spool.Stats{}, errNoContext
	}
	return r.store.Stats(ctx)
}
