package relay

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/internal/dns"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/internal/throttle"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	defaultDeliveries = 500
	maxDeliveries     = 100_000
	defaultDrain      = 30 * time.Second
	defaultLease      = 2 * time.Minute
	minLease          = time.Second
)

// New checks the configuration, reports every fault at once, and makes a relay.
// It starts nothing: no socket is opened and nothing is delivered before
// [Relay.Run].
//
// The error has a method Unwrap() []error with one *[postern.FieldError] for
// each fault; errors.As finds the first.
func New(cfg Config) (*Relay, error) {
	cfg.Hostname = wireName(cfg.Hostname)
	r := &Relay{
		store:     cfg.Spool,
		listeners: make(map[netip.AddrPort]net.Listener),
		ports:     make(map[string]netip.AddrPort),
		failed:    make(chan error, 1),
		idle:      make(chan struct{}),
		gone:      make(chan struct{}),
		closed:    make(chan struct{}),
		shutdown:  make(chan struct{}),
		throttle: sync.OnceValue(func() *auth.Throttle {
			return auth.NewThrottle(throttleOptions(cfg.Spool))
		}),
	}
	r.killed, r.kill = context.WithCancel(context.Background())
	if r.now = cfg.Now; r.now == nil {
		r.now = time.Now
	}
	r.events.log, r.events.now = logger(cfg), r.now
	r.calls = newCallbacks(logger(cfg))
	client := outbound.Config{
		Hostname: cfg.Hostname, Logger: logger(cfg), Dial: boundDial(r.calls.dial, cfg.Dial),
		Resolver: dns.System(),
	}
	client.Own = func(a netip.AddrPort) bool { return r.snap.Load().rules.ListensAt(a) }
	if cfg.Resolver != nil {
		client.Resolver = boundResolver{calls: r.calls.resolver, of: cfg.Resolver}
	}
	client.Part = func(limit int) int { return r.nodes.Part(limit) }
	client.Messages = func(exchangers []string) int {
		return r.snap.Load().shaping.messages(exchangers)
	}
	r.client = outbound.New(client)
	p, err := r.newSnapshot(cfg)
	if err != nil {
		return nil, err
	}
	r.snap.Store(p)
	r.eventLog = newEventLog(&cfg, r.now)
	r.monitor = policy.NewMonitor(cfg.Spool)
	r.setPressure(cfg.Pressure)
	r.server = smtpd.New(smtpd.Config{
		Hostname: cfg.Hostname, Logger: p.log, Settings: r.settings(p),
	})
	r.nodes = r.newNodes(&cfg)
	r.throttles = throttle.New(p.log)
	r.attempts = r.newDeliverer()
	r.sched = sched.New(sched.Config{
		Store:       cfg.Spool,
		LeaseTime:   cmp.Or(cfg.LeaseTime, defaultLease),
		Elsewhere:   r.elsewhere,
		Concurrency: cmp.Or(cfg.MaxDeliveries, defaultDeliveries),
		RouteLimit:  func(k spool.Key) int { return r.snap.Load().routes.Limit(k) },
		Site:        r.siteOf,
		Limits:      r.limitsOf,
		Stream:      r.streamOf,
		Throttles:   throttled{r},
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
