package relay_test

import (
	"context"
	"testing"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// forgetful is a store that loses the lease of what a test chooses.
type forgetful struct {
	*memspool.Store
	lose func(spool.Settlement) bool
}

func (f *forgetful) Settle(ctx context.Context, s spool.Settlement) error {
	if f.lose(s) {
		return spool.ErrLeaseLost
	}
	return f.Store.Settle(ctx, s)
}

// A throttle that began with an attempt which could not be settled is an event
// all the same, once.
func TestThrottleIsToldThoughItsAttemptIsNotSettled(t *testing.T) {
	store := new(forgetful)
	use := func(c *relay.Config) { // its clock is that of the test
		store.Store, c.Spool = memspool.New(nil), store
	}
	inRefusers(t, use, func(t *testing.T, w *refusers) {
		lost := 0
		store.lose = func(s spool.Settlement) bool {
			lost++
			return lost <= 2
		}
		w.refuse(tooFast)
		w.send("", "x@a.test")
		w.send("", "y@b.test")
		if list := w.Relay.Throttles(); len(list) != 1 || lost != 2 ||
			len(w.events.all(event.Throttled)) != 0 {
			t.Fatalf("throttles %+v, events %s", list, show(w.events.all()))
		}
		w.send("", "z@b.test")
		e := w.events.all(event.Throttled)
		if len(e) != 1 || e[0].Site != w.Relay.Throttles()[0].Site {
			t.Fatalf("events %s", show(w.events.all()))
		}
		logged, err := store.Records(t.Context(), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, r := range logged {
			if told, err := event.Parse(r.Data); err == nil && told.ID == e[0].ID {
				n++
			}
		}
		if n != 1 {
			t.Errorf("the log has it %d times", n)
		}
	})
}
