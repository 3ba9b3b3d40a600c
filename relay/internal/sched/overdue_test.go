package sched_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// What has expired on a route that rests ends as fast as the store takes it, in
// a tenth of the places. The rest waits.
func TestExpiredIsConcludedWhileItsRouteRests(t *testing.T) {
	for _, state := range []sched.Overdue{sched.Expired, sched.Late} {
		synctest.Test(t, func(t *testing.T) {
			store := memspool.New(nil)
			b := newBench(t, store)
			concluded, active, most := 0, 0, 0
			changes := b.begun.Add(5*time.Minute + time.Second)
			b.overdue = func(l *spool.Lease) (sched.Overdue, time.Time) {
				switch {
				case l.Message.From != "old" || l.Delivery.Recipients[0].Delayed:
					return sched.OnTime, time.Time{}
				case time.Now().Before(changes):
					return sched.OnTime, changes
				}
				return state, time.Time{}
			}
			b.conclude = func(l *spool.Lease) {
				b.mu.Lock()
				active++
				concluded++
				most = max(most, active)
				b.mu.Unlock()
				time.Sleep(10 * time.Millisecond) // the store takes its time
				b.mu.Lock()
				active--
				b.mu.Unlock()
				s := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
				if state == sched.Late {
					s.Remaining, s.Due = l.Delivery.Recipients, l.Delivery.Due
					s.Remaining[0].Delayed = true
				}
				_ = store.Settle(context.Background(), s)
			}
			for range 150 {
				commit(t, store, "old", "send/dead")
				commit(t, store, "new", "send/dead")
			}
			b.run(t, 5*time.Minute) // it rests by now
			before := b.count["send/dead"]
			if concluded != 0 || before < 5 {
				t.Fatalf("%d concluded, %d attempts", concluded, before)
			}
			b.run(t, 3*time.Second)
			if concluded < 145 || most > 10 { // those tried last are due later
				t.Errorf("%d of 150 concluded, %d at once, want 10 at most", concluded, most)
			}
			stats, _ := store.Stats(t.Context())
			if state == sched.Expired && stats.Deliveries > 155 {
				t.Errorf("%d left, want about 150", stats.Deliveries)
			}
			b.run(t, 5*time.Minute)
			if b.count["send/dead"] <= before+1 {
				t.Errorf("%d attempts, and no more since", b.count["send/dead"])
			}
		})
	}
}

// An expired delivery of a route with room is concluded instead of attempted.
func TestExpiredIsNotAttempted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		b := newBench(t, store)
		concluded := 0
		b.overdue = func(l *spool.Lease) (sched.Overdue, time.Time) {
			switch l.Message.From {
			case "old":
				return sched.Expired, time.Time{}
			case "late": // it is attempted instead
				return sched.Late, time.Time{}
			}
			return sched.OnTime, time.Time{}
		}
		b.conclude = func(l *spool.Lease) {
			concluded++
			_ = store.Settle(
				context.Background(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
			)
		}
		commit(t, store, "old", "mx/a")
		commit(t, store, "late", "mx/a")
		commit(t, store, "app", "mx/a")
		b.run(t, time.Second)
		if concluded != 1 || b.count["mx/a"] != 2 {
			t.Errorf("%d concluded, %d attempted", concluded, b.count["mx/a"])
		}
	})
}

// A conclusion that panics costs its place nothing.
func TestPanickingConclusion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		b := newBench(t, store)
		var n atomic.Int32
		b.overdue = func(*spool.Lease) (sched.Overdue, time.Time) {
			return sched.Expired, time.Time{}
		}
		b.conclude = func(*spool.Lease) {
			n.Add(1)
			panic("here")
		}
		each(t, store, "app", routes("mx/d%d", 50))
		b.run(t, time.Second)
		if n.Load() != 50 {
			t.Errorf("%d concluded, want 50", n.Load())
		}
	})
}
