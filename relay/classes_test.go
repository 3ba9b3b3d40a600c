package relay_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
)

// refusals are what some hosts say, by recipient.
func refusals() map[string]delivery.Error {
	return map[string]delivery.Error{
		"gone@a.test": {
			Op: delivery.OpRcpt, Host: "mx.a.test [192.0.2.1]", Permanent: true,
			Reply: delivery.Reply{Code: 550, Text: "No such user"},
		},
		"grey@a.test": {
			Op: delivery.OpRcpt, Host: "mx.a.test [192.0.2.1]",
			Reply: delivery.Reply{Code: 450, Enhanced: "4.7.1", Text: "Greylisted for 5 minutes"},
		},
		"slow@a.test": {
			Op: delivery.OpMail, Host: "mta5.am0.yahoodns.net [192.0.2.2]",
			Reply: delivery.Reply{Code: 421, Enhanced: "4.7.0", Text: "[TSS04] Deferred"},
		},
		"far@a.test": {
			Op: delivery.OpDial, Err: errSecret, Reply: delivery.Reply{Enhanced: "4.4.1"},
		},
		"odd@a.test": {
			Op: delivery.OpContent, Permanent: true, Err: errSecret,
			Reply: delivery.Reply{Enhanced: "5.6.3"},
		},
	}
}

// TestFailuresHaveClasses tells the class of a failure in the events of each
// kind, in the log of events, and of what waits in the queue.
func TestFailuresHaveClasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said, told := refusals(), new(record)
		out := func(_ context.Context, a *delivery.Attempt) []delivery.Result {
			results := make([]delivery.Result, len(a.Recipients))
			for i, rcpt := range a.Recipients {
				err := said[rcpt.Address]
				results[i] = delivery.Failed(&err)
			}
			return results
		}
		cfg := local(newCapture(), delivery.TransportFunc(out))
		cfg.Events = told.add
		r := run(t, cfg)
		var to []string
		for address := range said {
			to = append(to, address)
		}
		id := submit(t, r, "", to...)
		synctest.Wait()
		hasClasses(t, "at first", told.all(event.Deferred, event.Bounced), map[string]bounce.Class{
			"gone@a.test": bounce.UnknownRecipient, "grey@a.test": bounce.Greylisted,
			"slow@a.test": bounce.RateLimited, "far@a.test": bounce.Network,
			"odd@a.test": bounce.Content,
		})
		waiting := map[string]bounce.Class{
			"grey@a.test": bounce.Greylisted, "slow@a.test": bounce.RateLimited,
			"far@a.test": bounce.Network,
		}
		s, err := r.Status(t.Context(), id)
		if err != nil || len(s.Recipients) != len(waiting) {
			t.Fatalf("%+v, %v", s, err)
		}
		for _, w := range s.Recipients {
			if w.Class != waiting[w.Address] {
				t.Errorf("in the queue %s is %q", w.Address, w.Class)
			}
		}
		time.Sleep(50 * time.Hour)
		hasClasses(t, "at last", told.all(event.Expired), waiting)
	})
}

// hasClasses compares the classes of events with those wanted.
func hasClasses(t *testing.T, when string, events []event.Event, want map[string]bounce.Class) {
	t.Helper()
	if len(events) != len(want) {
		t.Errorf("%s: %d events, want %d", when, len(events), len(want))
	}
	for _, e := range events {
		stored, err := event.Parse(event.Append(nil, &e))
		if to := e.To[0]; e.Class != want[to] || stored.Class != want[to] || err != nil {
			t.Errorf(
				"%s: %s %s is %q, stored as %q: %v", when, e.Kind, to, e.Class, stored.Class, err,
			)
		}
	}
}
