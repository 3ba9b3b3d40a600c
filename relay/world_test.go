package relay_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// captured is one copy that a transport was given.
type captured struct {
	from    string
	to      string
	content string
}

// capture is a transport that keeps what it is given.
type capture struct {
	mu    sync.Mutex
	got   []captured
	more  chan struct{}
	reply func(to string) error // nil accepts
}

func newCapture() *capture { return &capture{more: make(chan struct{}, 1000)} }

func (c *capture) Deliver(ctx context.Context, a *delivery.Attempt) []delivery.Result {
	results := make([]delivery.Result, len(a.Recipients))
	for i, r := range a.Recipients {
		if c.reply != nil {
			if err := c.reply(r.Address); err != nil {
				results[i].Err = err
				continue
			}
		}
		rc, err := a.Open(ctx)
		if err != nil {
			results[i].Err = err
			continue
		}
		b, err := io.ReadAll(rc)
		rc.Close()
		if err != nil {
			results[i].Err = err
			continue
		}
		c.mu.Lock()
		c.got = append(c.got, captured{a.Message.From, r.Address, string(b)})
		c.mu.Unlock()
		c.more <- struct{}{}
		results[i].Delivered = true
	}
	return results
}

// next returns the nth copy, waiting for it.
func (c *capture) wait(t *testing.T, n int) []captured {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		c.mu.Lock()
		if len(c.got) >= n {
			got := append([]captured(nil), c.got...)
			c.mu.Unlock()
			return got
		}
		c.mu.Unlock()
		select {
		case <-c.more:
		case <-deadline:
			t.Fatalf("%d copies arrived, want %d", len(c.got), n)
		}
	}
}

// events keeps what a relay publishes.
type events struct {
	mu   sync.Mutex
	list []event.Event
	more chan struct{}
	told func(context.Context) // of the relay, if there is one
}

func newEvents() *events { return &events{more: make(chan struct{}, 1000)} }

func (e *events) add(ev event.Event) {
	e.mu.Lock()
	e.list = append(e.list, ev)
	e.mu.Unlock()
	select {
	case e.more <- struct{}{}:
	default:
	}
}

// wait returns the first event that matches.
func (e *events) wait(t *testing.T, match func(event.Event) bool) event.Event {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		e.mu.Lock()
		for _, ev := range e.list {
			if match(ev) {
				e.mu.Unlock()
				return ev
			}
		}
		e.mu.Unlock()
		select {
		case <-e.more:
		case <-deadline:
			t.Fatalf("no such event among %v", e.list)
		}
	}
}

func kind(k event.Kind) func(event.Event) bool {
	return func(e event.Event) bool { return e.Kind == k }
}

// world is a running relay with all the main parts.
type world struct {
	relay     *relay.Relay
	mailboxes *capture
	out       *capture
	events    *events
}

func config() (relay.Config, *world) {
	w := &world{mailboxes: newCapture(), out: newCapture(), events: newEvents()}
	apps := connector.AnonymousRelay("apps", connector.MustParseRange("127.0.0.1"))
	apps.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	in := connector.New("in", connector.Internet)
	in.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.2:0")}
	in.Limits.Tarpit = -1
	users := connector.Submission("users")
	users.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.3:0")}
	users.AuthMechanisms = connector.BasicAuth
	users.Limits.AuthTarpit = -1
	users.Limits.Tarpit = -1
	apps.Limits.Tarpit = -1
	return relay.Config{
		Hostname:   "relay.example.test",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{apps, in, users},
		Verifier: auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			if c.Username == "app@example.test" && c.Password == "secret" {
				return &auth.Identity{User: c.Username}, nil
			}
			return nil, auth.ErrBadCredentials
		}),
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.test", Recipients: domains.StaticRecipients("alice", "bob", "app")},
			{
				Domain: "internal.test", Type: domains.InternalRelay,
				Recipients: domains.StaticRecipients("carol"),
			},
			{Domain: "external.test", Type: domains.ExternalRelay},
		},
		Mailboxes: w.mailboxes,
		Transport: w.out,
		Events:    w.events.add,
	}, w
}

func start(t *testing.T, change func(*relay.Config)) *world {
	t.Helper()
	cfg, w := config()
	if change != nil {
		change(&cfg)
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		// A test that closes the relay may do so before Run begins.
		if err := <-done; err != nil && !errors.Is(err, relay.ErrClosed) {
			t.Errorf("Run: %v", err)
		}
	})
	w.relay, w.events.told = r, r.Told
	return w
}

func (w *world) addr(name string) string { return w.relay.Addrs(name)[0].String() }

const text = "From: app@example.test\r\nSubject: hello\r\n\r\nbody\r\n"

// send sends one message by SMTP and returns the first error.
func send(addr string, a smtp.Auth, from string, to ...string) error {
	return smtp.SendMail(addr, a, from, to, []byte(text))
}

func code(err error) int {
	if e, ok := errors.AsType[*textproto.Error](err); ok {
		return e.Code
	}
	return 0
}
