package relay_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestTwoRelaysApart stops one of two relays in a process; the other goes on.
func TestTwoRelaysApart(t *testing.T) {
	a, b := start(t, nil), start(t, nil)
	for range 2 {
		if err := send(b.addr("apps"), nil, "app@example.test", "x@elsewhere.test"); err != nil {
			t.Fatal(err)
		}
		a.relay.Close()
	}
	b.out.wait(t, 2)
	if n := len(a.events.all(event.Accepted)); n != 0 {
		t.Errorf("the other relay saw %d messages", n)
	}
}

// TestMaxDeliveries counts the attempts under way.
func TestMaxDeliveries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		cfg := local(newCapture(), delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Minute)
			mu.Lock()
			now--
			mu.Unlock()
			return a.All(delivery.Result{Delivered: true})
		}))
		cfg.MaxDeliveries = 3
		r := run(t, cfg)
		for range 20 {
			submit(t, r, "", "x@elsewhere.test")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if stats, err := r.Stats(t.Context()); err != nil || stats.Messages != 0 || most != 3 {
			t.Errorf("%d at once, stats %+v, %v", most, stats, err)
		}
	})
}

// TestFaultsOfTimes finds numbers that make no sense.
func TestFaultsOfTimes(t *testing.T) {
	_, err := relay.New(relay.Config{
		Hostname: "[127.0.0.1]", Spool: memspool.New(nil), MaxDeliveries: -1, DrainTimeout: -1,
		Postmaster: "no one", DefaultDomain: "a b",
		Retry: delivery.Retry{
			Schedule: []time.Duration{time.Minute, 0}, Expires: time.Millisecond,
			DelayNotification: time.Millisecond,
		},
	})
	for _, want := range []string{
		"Hostname:", "MaxDeliveries:", "DrainTimeout:", "DefaultDomain:", "Retry.Schedule[1]:",
		"Retry.Expires:", "Retry.DelayNotification:",
	} {
		if err == nil || !strings.Contains(err.Error(), "\n  "+want) {
			t.Errorf("no fault at %s in %v", want, err)
		}
	}
	_, err = relay.New(relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil), MaxDeliveries: math.MaxInt32,
	})
	if f, ok := errors.AsType[*postern.FieldError](err); !ok || f.Field != "MaxDeliveries" {
		t.Errorf("error %v", err)
	}
	_, err = relay.New(
		relay.Config{
			Hostname: "relay.example.test", Spool: memspool.New(nil), Postmaster: "no one",
		},
	)
	if f, ok := errors.AsType[*postern.FieldError](err); !ok || f.Field != "Postmaster" {
		t.Errorf("error %v", err)
	}
}

// TestPostmaster takes mail for <postmaster> without a domain on every
// connector that may submit (RFC 5321 section 4.5.1).
func TestPostmaster(t *testing.T) {
	w := start(t, func(c *relay.Config) { c.Postmaster = "Alice@example.test" })
	w.dial(t, "in").Play(
		"C: MAIL FROM:<x@elsewhere.test>\nS: 250\nC: RCPT TO:<Postmaster>\nS: 250\n" + message +
			"S: 250",
	)
	if got := w.mailboxes.wait(t, 1)[0]; got.to != "Alice@example.test" {
		t.Errorf("went to %s", got.to)
	}
	w.out.reply = func(string) error { return relay.Reject(550, "5.1.1", "no") }
	submit(t, w.relay, "bob@example.test", "x@elsewhere.test")
	if got := w.mailboxes.wait(t, 2)[1]; !strings.Contains(
		got.content, "From: Mail Delivery System <Alice@example.test>",
	) {
		t.Errorf("report %s", got.content)
	}
}

// TestErrorTypes prints and unwraps the errors of the package.
func TestErrorTypes(t *testing.T) {
	cause := errors.New("cause")
	for _, tt := range []struct {
		err       error
		text      string
		temporary bool
	}{
		{relay.Reject(550, "5.7.1", "no"), "550 5.7.1 no", false},
		{relay.Reject(250, "", "no"), "550 5.0.0 no", false},
		{relay.Defer(421, "4.7.0", "later"), "421 4.7.0 later", true},
		{relay.Defer(550, "", "later"), "451 4.0.0 later", true},
		{
			&relay.ReplyError{Code: 451, Enhanced: "4.3.0", Text: "later", Err: cause},
			"451 4.3.0 later", true,
		},
		{&delivery.Error{Op: delivery.OpDNS, Err: cause}, "dns: cause", true},
		{
			&delivery.Error{
				Op: delivery.OpData, Host: "h", Permanent: true,
				Reply: delivery.Reply{Code: 554, Enhanced: "5.6.0", Text: "no"},
			},
			"data h: 554 5.6.0 no", false,
		},
		{&postern.FieldError{Field: "Spool", Err: cause}, "Spool: cause", true},
		{&relay.RecipientError{Recipient: "a@b.test", Err: cause}, "<a@b.test>: cause", true},
	} {
		if tt.err.Error() != tt.text {
			t.Errorf("%q, want %q", tt.err, tt.text)
		}
		if e, ok := tt.err.(interface{ Temporary() bool }); ok && e.Temporary() != tt.temporary {
			t.Errorf("%v: temporary %v", tt.err, !tt.temporary)
		}
		if strings.Contains(tt.text, "cause") && !errors.Is(tt.err, cause) {
			t.Errorf("%v hides its cause", tt.err)
		}
	}
}

// TestLabelsAreApart lets a policy write the labels of its session in place
// while earlier events are still read.
func TestLabelsAreApart(t *testing.T) {
	w := start(t, func(cfg *relay.Config) {
		n := 0
		cfg.Policy.Mail = func(_ context.Context, s *relay.Session, _ domains.Address) error {
			if s.Labels == nil {
				s.Labels = map[string]string{}
			}
			n++
			s.Labels["n"] = fmt.Sprint(n)
			return nil
		}
	})
	c := w.dial(t, "apps")
	for range 3 {
		c.Play(envelope + message + "S: 250")
	}
	w.out.wait(t, 3)
	for i, e := range w.events.all(event.Accepted) {
		if e.Labels["n"] != fmt.Sprint(i+1) {
			t.Errorf("message %d has labels %v", i+1, e.Labels)
		}
	}
}
