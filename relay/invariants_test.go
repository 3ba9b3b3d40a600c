package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestDurableBeforeReply holds the 250, and the return of Submit, back until
// the commit is through.
func TestDurableBeforeReply(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	w := start(t, func(c *relay.Config) {
		c.Spool = &hooked{Store: c.Spool, commit: func(context.Context, spool.Commit) error {
			entered <- struct{}{}
			<-release
			return nil
		}}
	})
	c := w.dial(t, "apps")
	c.Play(envelope + message)
	<-entered
	c.Play("silent") // no reply before the commit
	release <- struct{}{}
	c.Expect("250 2.0.0")

	done := make(chan error, 1)
	go func() {
		_, err := w.relay.Submit(
			t.Context(),
			&relay.Message{To: []string{"x@elsewhere.test"}, Content: strings.NewReader(text)},
		)
		done <- err
	}()
	<-entered
	select {
	case err := <-done:
		t.Fatalf("Submit returned %v before the commit", err)
	default:
	}
	release <- struct{}{}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestFailedCommitIsNoMessage looks for what must not be there after a commit
// that failed.
func TestFailedCommitIsNoMessage(t *testing.T) {
	for _, cause := range []error{spool.ErrFull, spool.ErrFailed, errSecret} {
		events := new(record)
		cfg := relay.Config{
			Hostname: "relay.example.test",
			Spool: &hooked{Store: memspool.New(nil), commit: func(
				context.Context, spool.Commit,
			) error {
				return cause
			}},
			Events: events.add,
		}
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := r.Submit(
			t.Context(),
			&relay.Message{To: []string{"x@elsewhere.test"}, Content: strings.NewReader(text)},
		)
		if receipt != nil || !errors.Is(err, cause) {
			t.Errorf("Submit = %v, %v; want %v", receipt, err, cause)
		}
		stats, err := r.Stats(t.Context())
		if err != nil || stats != (spool.Stats{}) {
			t.Errorf("%v: stats %+v, %v", cause, stats, err)
		}
		if got := events.all(); len(got) != 0 {
			t.Errorf("%v: events %s", cause, show(got))
		}
		r.Close()
	}
}

// TestRoomIsGivenBack sends messages that break off, are refused or are too
// large.
func TestRoomIsGivenBack(t *testing.T) {
	w := start(t, func(c *relay.Config) { c.Connectors[0].Limits.MaxMessageBytes = 65536 })
	c := w.dial(t, "apps")
	for range 3 {
		c.Play(
			envelope + "C: DATA\nS: 354\nC: Subject: x\nC: \nC> a\\nb\\r\\n\nC: .\nS: 550 5.6.11",
		)
		if got := c.transact(
			"Subject: x\r\n\r\n"+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1000),
			"app@example.test", "x@elsewhere.test",
		); !strings.HasPrefix(got, "552 5.3.4") {
			t.Fatal(got)
		}
	}
	c.Play(envelope + "C: DATA\nS: 354\nC: Subject: x\nC: \nC: half\n")
	c.Close()
	broken := errors.New("broken")
	if _, err := w.relay.Submit(
		t.Context(),
		&relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: &failing{"Subject: x\n\nhalf", broken},
		},
	); !errors.Is(err, broken) {
		t.Errorf("Submit: %v", err)
	}
	c = w.dial(t, "apps") // by now the first session has ended, or ends with the relay
	c.Play(envelope + message + "S: 250")
	w.out.wait(t, 1)
	w.events.wait(t, kind(event.Delivered))
	w.relay.Close()
	if stats, err := w.relay.Stats(t.Context()); err != nil || stats != (spool.Stats{}) {
		t.Errorf("stats %+v, %v", stats, err)
	}
}

// failing is content that ends with an error.
type failing struct {
	text string
	err  error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.text == "" {
		return 0, f.err
	}
	n := copy(p, f.text)
	f.text = f.text[n:]
	return n, nil
}

// TestClosedByDefault builds what would be open, and what opens nothing.
func TestClosedByDefault(t *testing.T) {
	here := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	everyone := connector.AnonymousRelay("everyone", connector.Everyone()...)
	everyone.Bindings = here
	cfg := relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil),
		Connectors: []*connector.Connector{everyone},
	}
	if _, err := relay.New(cfg); err == nil || !strings.Contains(err.Error(), "Connectors[0]") {
		t.Errorf("an anonymous relay for everyone: %v", err)
	}
	open := *everyone
	open.OpenRelay = true
	cfg.Connectors = []*connector.Connector{&open}
	if _, err := relay.New(cfg); err != nil {
		t.Errorf("an open relay that is wanted: %v", err)
	}
	cfg.Connectors = []*connector.Connector{{}}
	if _, err := relay.New(cfg); err == nil {
		t.Error("a zero connector was taken")
	}
	nobody := bind(
		&connector.Connector{Name: "nobody", RemoteIPRanges: connector.Loopback()}, "127.0.0.1",
	)
	w := start(t, func(c *relay.Config) { c.Connectors = []*connector.Connector{nobody} })
	w.dial(t, "nobody").Play(
		"C: MAIL FROM:<x@elsewhere.test>\nS: 530 5.7.1\nC: AUTH PLAIN AHgAeA==\nS: 50\nC: RCPT " +
			"TO:<alice@example.test>\nS: 503",
	)
}

// TestUnknownRecipients takes recipients that do not exist, in domains of each
// type, as they are accepted and as they are delivered.
func TestUnknownRecipients(t *testing.T) {
	known := true
	var mu sync.Mutex
	some := domains.ResolverFunc(func(context.Context, domains.Address) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		return known, nil
	})
	w := start(t, func(c *relay.Config) {
		c.AcceptedDomains = []domains.AcceptedDomain{
			{Domain: "authoritative.test", Recipients: some},
			{Domain: "internal.test", Type: domains.InternalRelay, Recipients: some},
			{Domain: "external.test", Type: domains.ExternalRelay},
		}
	})
	c := w.dial(t, "in")
	c.Play(
		"C: MAIL FROM:<x@elsewhere.test>\nS: 250\nC: RCPT TO:<u@authoritative.test>\nS: 250\n" +
			"C: RCPT TO:<u@internal.test>\nS: 250\n" + message + "S: 250",
	)
	w.mailboxes.wait(t, 2)
	mu.Lock()
	known = false
	mu.Unlock()
	c.Play("C: MAIL FROM:<x@elsewhere.test>\nS: 250\nC: RCPT TO:<u@authoritative.test>\nS: 550 " +
		"5.1.1\nC: RCPT TO:<u@internal.test>\nS: 250\n" +
		"C: RCPT TO:<u@external.test>\nS: 250\n" + message + "S: 250")
	w.out.wait(t, 2)
}

// TestIdentityReplacesAnonymous gives anonymous clients more than users:
// logging on takes it away.
func TestIdentityReplacesAnonymous(t *testing.T) {
	w := start(t, func(cfg *relay.Config) {
		c := bind(connector.New("both", connector.Custom), "127.0.0.4")
		c.RemoteIPRanges = connector.Loopback()
		c.PermissionGroups = connector.AnonymousUsers | connector.ExchangeUsers
		c.AuthMechanisms = connector.BasicAuth
		cfg.Connectors = append(cfg.Connectors, c)
	})
	c := w.dial(t, "both")
	c.Play("C: MAIL FROM:<ceo@example.test>\nS: 250\nC: RCPT TO:<x@elsewhere.test>\nS: 550 " +
		"5.7.54\nC: RSET\nS: 250\n" + login +
		"C: MAIL FROM:<ceo@example.test>\nS: 550 5.7.60\nC: MAIL FROM:<app@example.test>\nS: " +
		"250\nC: RCPT TO:<x@elsewhere.test>\nS: 250")
}

// TestSecretsStayInside lets everything fail with a text of internals and looks
// at all that leaves the relay.
func TestSecretsStayInside(t *testing.T) {
	for name, failure := range map[string]error{
		"plain":    errSecret,
		"wrapped":  fmt.Errorf("%s: %w", secret, relay.Reject(550, "5.7.1", "Refused by policy")),
		"delivery": &delivery.Error{Op: delivery.OpDial, Err: errSecret, Permanent: true},
		"content":  &delivery.Error{Op: delivery.OpContent, Err: errSecret, Permanent: true},
		"other":    &delivery.Error{Err: errSecret, Permanent: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				box := newCapture()
				cfg := local(
					box,
					delivery.Mailbox(func(
						context.Context, domains.Address, *delivery.Attempt,
					) error {
						return failure
					}),
				)
				cfg.Retry = delivery.Retry{Schedule: []time.Duration{time.Hour}, Expires: time.Hour}
				r := run(t, cfg)
				submit(t, r, "app@example.test", "x@elsewhere.test")
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				got := box.wait(t, 1)[0]
				if !strings.Contains(got.content, "Final-Recipient: rfc822; x@elsewhere.test") {
					t.Errorf("no report: %s", got.content)
				}
				if strings.Contains(got.content, "hunter2") {
					t.Errorf("an internal error in the report:\n%s", got.content)
				}
			})
		})
	}
}

// TestIdentityLabels expects the labels of a user on the events of what the
// user sends.
func TestIdentityLabels(t *testing.T) {
	w := start(t, func(cfg *relay.Config) {
		cfg.Verifier = auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			return &auth.Identity{User: c.Username, Labels: map[string]string{"tenant": "7"}}, nil
		})
	})
	w.dial(t, "users").Play(login + envelope + message + "S: 250")
	for _, k := range []event.Kind{event.Accepted, event.Delivered} {
		if e := w.events.wait(t, kind(k)); e.Labels["tenant"] != "7" {
			t.Errorf("labels of %s: %v", k, e.Labels)
		}
	}
	_, err := w.relay.Submit(t.Context(), &relay.Message{
		To: []string{"x@elsewhere.test"}, Content: strings.NewReader(text),
		Labels: map[string]string{"order": "1"},
		Identity: &auth.Identity{
			User: "app@example.test", Labels: map[string]string{"tenant": "8", "order": "none"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	e := w.events.wait(t, func(e event.Event) bool {
		return e.Kind == event.Accepted && e.Labels["order"] != ""
	})
	if e.Labels["tenant"] != "8" || e.Labels["order"] != "1" {
		t.Errorf("labels of Submit: %v", e.Labels)
	}
}
