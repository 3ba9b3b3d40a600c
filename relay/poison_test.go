package relay_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/relaytest"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// poisoning is a relay and what it told.
type poisoning struct {
	*relay.Relay
	store  *memspool.Store
	events *record
	log    *logs
}

func poisoned(t *testing.T, cfg relay.Config) *poisoning {
	t.Helper()
	p := &poisoning{store: memspool.New(nil), events: new(record), log: new(logs)}
	cfg.Spool, cfg.Events, cfg.Logger = p.store, p.events.add, p.log.logger()
	cfg.EventLog.Retention = 10 * 24 * time.Hour
	p.Relay = run(t, cfg)
	return p
}

func (p *poisoning) states(t *testing.T, id string) (list []relay.RecipientStatus) {
	t.Helper()
	s, err := p.Status(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return s.Recipients
}

// wantAside fails the test unless all of a message is set aside after so many
// crashes.
func (p *poisoning) wantAside(t *testing.T, id string, crashes int) {
	t.Helper()
	for _, r := range p.states(t, id) {
		if r.State != spool.StatePoison || r.Crashes != crashes || !r.Next.IsZero() {
			t.Errorf("%+v, want it set aside after %d crashes", r, crashes)
		}
	}
}

type panickyResolver struct{ *relaytest.Zone }

func (panickyResolver) LookupMX(
	context.Context, string,
) (delivery.Answer[*net.MX], error) {
	panic("resolver")
}

// Whatever of the application's panics in an attempt, the second time in a row
// sets the message aside: it is told, and nothing tries it again by itself.
func TestCrashesSetAside(t *testing.T) {
	mx := &connector.SendConnector{Name: "out", AddressSpaces: connector.AllDomains()}
	for name, change := range map[string]func(*relay.Config){
		"transport": func(c *relay.Config) {
			c.Transport = delivery.TransportFunc(func(
				context.Context, *delivery.Attempt,
			) []delivery.Result {
				panic("here")
			})
		},
		"Goexit": func(c *relay.Config) { // as by t.Fatal of a test
			c.Transport = delivery.TransportFunc(func(
				context.Context, *delivery.Attempt,
			) []delivery.Result {
				runtime.Goexit()
				return nil
			})
		},
		"mailbox": func(c *relay.Config) {
			c.Transport = delivery.Mailbox(func(
				context.Context, domains.Address, *delivery.Attempt,
			) error {
				panic("here")
			})
		},
		"resolver": func(c *relay.Config) {
			c.Transport, c.SendConnectors = nil, []*connector.SendConnector{mx}
			c.Resolver = panickyResolver{relaytest.NewZone()}
		},
		"dial": func(c *relay.Config) {
			c.Transport, c.SendConnectors = nil, []*connector.SendConnector{mx}
			c.Resolver = relaytest.NewZone().MX("a.test", 10, "mx.a.test").
				Host("mx.a.test", "192.0.2.1")
			c.Dial = func(context.Context, string, string) (net.Conn, error) { panic("here") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cfg := local(newCapture(), nil)
				change(&cfg)
				setAside(t, poisoned(t, cfg))
			})
		})
	}
}

func setAside(t *testing.T, p *poisoning) {
	id := submit(t, p.Relay, "app@example.test", "x@a.test")
	time.Sleep(5 * 24 * time.Hour) // it does not expire
	synctest.Wait()
	p.wantAside(t, id, 2)
	if s := p.states(t, id)[0]; s.Attempts != 2 {
		t.Errorf("%d attempts", s.Attempts)
	}
	deferred, aside := p.events.all(event.Deferred), p.events.all(event.Poisoned)
	if len(deferred) != 1 || len(aside) != 1 || aside[0].Attempt != 2 ||
		aside[0].To[0] != "x@a.test" || !aside[0].Next.IsZero() || aside[0].Report == "" {
		t.Errorf("%d deferrals, %s", len(deferred), show(aside))
	}
	if list := p.events.all(event.Expired, event.Bounced); len(list) > 0 {
		t.Errorf("it ended: %s", show(list))
	}
	if log := p.log.String(); !strings.Contains(log, "delivery set aside") ||
		!strings.Contains(log, "poison_test.go") {
		t.Errorf("the log has no stack: %s", log)
	}
	logged, err := p.store.Records(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, r := range logged {
		e, err := event.Parse(r.Data)
		found = found || err == nil && e.Kind == event.Poisoned && e.ID == aside[0].ID
	}
	if !found {
		t.Error("the log of the store does not have it")
	}
}

// An attempt between two crashes that does not crash begins the count anew.
func TestCrashesInARow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := 0
		cfg := local(newCapture(), delivery.Mailbox(func(
			context.Context, domains.Address, *delivery.Attempt,
		) error {
			if n++; n%2 == 1 {
				panic("here")
			}
			return relay.Defer(451, "4.2.1", "later")
		}))
		p := poisoned(t, cfg)
		submit(t, p.Relay, "", "x@a.test")
		time.Sleep(49 * time.Hour)
		synctest.Wait()
		if aside := p.events.all(event.Poisoned); len(aside) > 0 || n < 200 ||
			len(p.events.all(event.Expired)) != 1 {
			t.Errorf("%d attempts, %s", n, show(aside))
		}
	})
}

// A recipient whose mailbox crashes is not a reason for the others to wait for
// an operator, and is set aside as soon as it is alone.
func TestCrashOfOneRecipient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		begun := time.Now()
		cfg := local(newCapture(), delivery.Mailbox(func(
			_ context.Context, to domains.Address, _ *delivery.Attempt,
		) error {
			switch {
			case to.Local() == "crash":
				panic("here")
			case to.Local() == "later" && time.Since(begun) < time.Hour:
				return relay.Defer(451, "4.2.1", "later")
			}
			return nil
		}))
		p := poisoned(t, cfg)
		id := submit(t, p.Relay, "", "crash@a.test", "later@a.test", "now@a.test")
		time.Sleep(50 * time.Minute)
		for _, r := range p.states(t, id) {
			if r.State != spool.StateWaiting || r.Crashes < 3 {
				t.Errorf("%+v", r)
			}
		}
		time.Sleep(time.Hour)
		if list := p.states(t, id); len(list) != 1 || list[0].Address != "crash@a.test" ||
			list[0].State != spool.StatePoison {
			t.Errorf("%+v", list)
		}
		if got := p.events.all(event.Delivered); len(got) != 2 {
			t.Errorf("delivered %s", show(got))
		}
	})
}

// What was set aside is tried again when an operator says so, however old it
// is, and crashes are counted anew.
func TestReleaseOfPoison(t *testing.T) {
	for name, tt := range map[string]struct {
		after time.Duration
		next  time.Duration
		sick  bool
		want  event.Kind
	}{
		"young":              {time.Hour, 0, false, event.Delivered},
		"young, later":       {time.Hour, time.Hour, false, event.Delivered},
		"just past its end":  {48*time.Hour + time.Minute, 0, false, event.Delivered},
		"old":                {72 * time.Hour, -time.Hour, false, event.Delivered},
		"old, later":         {72 * time.Hour, time.Hour, false, event.Delivered},
		"young, still sick":  {time.Hour, 0, true, event.Poisoned},
		"old and still sick": {72 * time.Hour, 0, true, event.Poisoned},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				sick := true
				cfg := local(newCapture(), delivery.TransportFunc(func(
					_ context.Context, a *delivery.Attempt,
				) []delivery.Result {
					if sick {
						panic("here")
					}
					return a.All(delivery.Taken("", delivery.Reply{}))
				}))
				p := poisoned(t, cfg)
				id := submit(t, p.Relay, "", "x@a.test")
				time.Sleep(tt.after)
				p.wantAside(t, id, 2)
				sick = tt.sick
				if err := p.Reschedule(t.Context(), id, time.Now().Add(tt.next)); err != nil {
					t.Fatal(err)
				}
				if tt.next > 0 { // else it may have been tried by now
					s := p.states(t, id)[0]
					if s.State == spool.StatePoison || s.Crashes != 0 {
						t.Errorf("released: %+v", s)
					}
				}
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				last := p.events.all(event.Delivered, event.Poisoned, event.Expired)
				if e := last[len(last)-1]; e.Kind != tt.want {
					t.Errorf("events %s", show(last))
				}
				if tt.sick {
					p.wantAside(t, id, 2)
				}
			})
		})
	}
}

func TestCancelOfPoison(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := local(newCapture(), delivery.TransportFunc(func(
			context.Context, *delivery.Attempt,
		) []delivery.Result {
			panic("here")
		}))
		p := poisoned(t, cfg)
		id := submit(t, p.Relay, "", "x@a.test", "y@a.test")
		time.Sleep(time.Hour)
		p.wantAside(t, id, 2)
		if n, err := p.Cancel(t.Context(), id); n != 2 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		synctest.Wait()
		if got := p.events.all(event.Removed); len(got) != 2 {
			t.Errorf("removed %s", show(got))
		}
	})
}

// badKey is a key of which the Signer panics once it is told to.
type badKey struct {
	crypto.Signer
	bad *atomic.Bool
}

func (k badKey) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if k.bad.Load() {
		panic("key")
	}
	return k.Signer.Sign(r, digest, o)
}

// A report that cannot be made since its key panics counts as an attempt that
// crashed: what has failed is not refused again for ever.
func TestReportThatCrashes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		var bad atomic.Bool
		cfg := local(newCapture(), delivery.Mailbox(func(
			context.Context, domains.Address, *delivery.Attempt,
		) error {
			n++
			bad.Store(n <= 2)
			return relay.Reject(550, "5.1.1", "No such user")
		}))
		cfg.DKIM = []msgauth.Key{{
			Domain: "example.test", Selector: "s", Signer: badKey{key, &bad},
		}}
		cfg.Postmaster = "postmaster@example.test"
		p := poisoned(t, cfg)
		id := submit(t, p.Relay, "app@example.test", "x@a.test")
		time.Sleep(10 * time.Hour)
		p.wantAside(t, id, 2)
		if n != 2 {
			t.Errorf("%d attempts", n)
		}
		if err := p.Reschedule(t.Context(), id, time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := p.events.all(event.Bounced); len(got) != 1 || got[0].Report == "" {
			t.Errorf("bounced %s", show(got))
		}
	})
}

// An attempt that crashes at the end of a message's time sets it aside at once:
// that is no answer of its next hop.
func TestCrashAtExpiry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := local(newCapture(), delivery.Mailbox(func(
			_ context.Context, to domains.Address, _ *delivery.Attempt,
		) error {
			if to.Local() == "crash" {
				panic("here")
			}
			return relay.Defer(451, "4.2.1", "later")
		}))
		p := &poisoning{store: memspool.New(nil), events: new(record)}
		putDelivery(t, p.store, spool.Delivery{
			Key: spool.Key{Route: "transport"}, Due: time.Now(), Expires: time.Now(), Attempts: 9,
			Recipients: []spool.Recipient{{Address: "crash@a.test"}, {Address: "later@a.test"}},
		})
		cfg.Spool, cfg.Events = p.store, p.events.add
		p.Relay = run(t, cfg)
		time.Sleep(time.Hour)
		synctest.Wait()
		aside, expired := p.events.all(event.Poisoned), p.events.all(event.Expired)
		if len(aside) != 1 || aside[0].To[0] != "crash@a.test" || len(expired) != 1 ||
			expired[0].To[0] != "later@a.test" {
			t.Errorf("%s, %s", show(aside), show(expired))
		}
		p.wantAside(t, aside[0].QueueID, 2)
	})
}
