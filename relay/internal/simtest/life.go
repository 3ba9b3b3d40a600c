package simtest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// life is one process with a relay in it.
type life struct {
	node    int
	address string // that it listens on, and calls from
	relay   *relay.Relay
	store   spool.Store
	link    *link // to a store that it shares; else nil
	// expecter is the same, if it leases what it commits; else nil.
	expecter *Expecter
	out      bool // of order for a while
	dead     atomic.Bool
	stop     context.CancelFunc
	ended    chan struct{} // closed when Run has returned

	mu    sync.Mutex
	conns map[*conn]bool
}

var errDead = errors.New("simtest: the process has died")

// begin starts the process of a node on the machine.
func (w *World) begin(node int) {
	store, err := w.machine.Open()
	if err != nil {
		w.t.Fatalf("the store does not open: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &life{
		node: node, address: addressOf(node).String(),
		store: store, stop: stop, ended: make(chan struct{}), conns: make(map[*conn]bool),
	}
	if w.shared() {
		if w.leasing == nil {
			w.leasing = NewLeasing(store)
		}
		l.link = newLink(w.leasing)
		l.store = l.link
		if w.chance(0.5) {
			l.expecter = NewExpecter(l.link)
			l.expecter.Lag = w.between(0, 2*keptFor) - keptFor
			l.store = l.expecter
		}
	}
	l.relay, err = relay.New(w.config(l))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := l.relay.Listen(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(l.ended)
		_ = l.relay.Run(ctx)
	}()
	go w.follow(ctx, l)
	w.mu.Lock()
	w.lives[node] = l
	w.mu.Unlock()
}

// end ends a process in an orderly way.
func (w *World) end(l *life) {
	l.stop()
	<-l.ended
	w.leave(l)
}

// leave closes the store of a process that has ended.
func (w *World) leave(l *life) {
	_ = l.store.Close()
	if l.expecter != nil {
		w.history.mu.Lock()
		defer w.history.mu.Unlock()
		w.history.expected += l.expecter.Handed()
	}
}

// kill ends a process at once: nothing of it reaches the network or the store
// any more, whatever its goroutines still do.
func (w *World) kill(l *life, powerLost bool) {
	l.dead.Store(true)
	l.mu.Lock()
	for c := range l.conns {
		_ = c.Conn.Close()
	}
	l.mu.Unlock()
	w.history.trouble(l.node, now())
	if l.link != nil {
		l.link.end(errDead)
	} else {
		w.machine.Stop(powerLost)
	}
}

// bury waits for what is left of a process that was killed.
func (w *World) bury(l *life) {
	l.stop()
	_ = l.relay.Close()
	<-l.ended
	w.leave(l)
}

func (w *World) config(l *life) relay.Config {
	apps := connector.AnonymousRelay("apps", connector.MustParseRange("10.9.0.0/16"))
	apps.Bindings = []netip.AddrPort{addressOf(l.node)}
	cfg := relay.Config{
		Hostname:   "relay.test",
		Spool:      l.store,
		LeaseTime:  w.plan.Lease,
		Now:        w.clockOf(l.node),
		Connectors: []*connector.Connector{apps},
		AcceptedDomains: []domains.AcceptedDomain{{
			Domain: senderDomain, Type: domains.Authoritative, MatchSubdomains: true,
			Recipients: domains.ResolverFunc(
				func(context.Context, domains.Address) (bool, error) { return true, nil },
			),
		}},
		Mailboxes: delivery.TransportFunc(
			func(ctx context.Context, a *delivery.Attempt) []delivery.Result {
				return w.mailboxes(ctx, l, a)
			},
		),
		SendConnectors: w.sendConnectors(),
		Shaping:        w.shaping(),
		Retry:          retry(),
		Resolver:       w.dns,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			l.stands()
			c, err := w.net.DialFrom(ctx, addressOf(l.node).Addr(), network, address)
			return l.own(c, err)
		},
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			ln, err := w.net.Listen(ctx, network, address)
			return listener{ln, l}, err
		},
		DrainTimeout: 10 * time.Second,
	}
	if _, ok := l.store.(spool.Log); ok {
		cfg.EventLog.Retention = 30 * 24 * time.Hour
	}
	cfg.Events = w.live
	if w.chance(0.5) {
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{w.cert}}
	}
	return cfg
}

// mailboxes are those of the senders: reports land there. They fail as an
// application's transport may.
func (w *World) mailboxes(
	ctx context.Context, l *life, a *delivery.Attempt,
) []delivery.Result {
	results := make([]delivery.Result, len(a.Recipients))
	if !w.isCalm() {
		switch w.below(40) {
		case 0:
			w.history.count(MailboxFails)
			return results // the zero value, as of a loop that was left
		case 1:
			w.history.count(MailboxFails)
			return nil
		case 2:
			w.history.count(MailboxFails)
			panic("simtest: the mailboxes panic")
		}
	}
	if w.crashes(a) {
		w.history.count(MailboxFails)
		panic("simtest: this message crashes the mailboxes")
	}
	content, err := read(ctx, a)
	for i := range a.Recipients {
		if err != nil {
			results[i] = delivery.Failed(err)
			continue
		}
		if l.stands(); l.dead.Load() {
			return nil
		}
		if a.Message.From == "" {
			if err := w.history.report(content); err != nil {
				w.t.Error(err)
			}
		} else {
			w.history.take(
				a.Recipients[i].Address, content,
				taken{at: time.Now(), host: "mailbox", node: l.node, told: true},
			)
		}
		results[i] = delivery.Taken("mailbox", delivery.Reply{})
	}
	return results
}

func read(ctx context.Context, a *delivery.Attempt) (string, error) {
	r, err := a.Open(ctx)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var b strings.Builder
	_, err = io.Copy(&b, r)
	return b.String(), err
}

// follow is the application that reads the event log, and is killed with it.
func (w *World) follow(ctx context.Context, l *life) {
	_ = l.relay.Follow(ctx, "application", func(_ context.Context, events []event.Event) error {
		if l.stands(); l.dead.Load() {
			return errDead
		}
		w.history.follow(events)
		return nil
	})
}

func (w *World) live(e event.Event) {
	if e.Kind == event.Throttled {
		w.history.throttled(e.Throttle, e.Site, e.Class)
	}
	w.history.mu.Lock()
	defer w.history.mu.Unlock()
	w.history.live.add(e)
}

// conn is a connection that ends with its process.
type conn struct {
	net.Conn
	life *life
}

func (l *life) own(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	own := &conn{c, l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead.Load() {
		_ = c.Close()
		return nil, errDead
	}
	l.conns[own] = true
	return own, nil
}

func (c *conn) Write(p []byte) (int, error) {
	if c.life.stands(); c.life.dead.Load() {
		return 0, errDead
	}
	return c.Conn.Write(p)
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.life.stands()
	return n, err
}

func (c *conn) Close() error {
	c.life.stands()
	c.life.mu.Lock()
	delete(c.life.conns, c)
	c.life.mu.Unlock()
	return c.Conn.Close()
}

type listener struct {
	net.Listener
	life *life
}

func (ln listener) Accept() (net.Conn, error) {
	for {
		c, err := ln.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if own, err := ln.life.own(c, nil); err == nil {
			return own, nil
		}
	}
}
