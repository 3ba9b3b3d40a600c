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

// What is being settled keeps nothing from its site, but holds its place: no
// more than all places are ever under way.
func TestSettlingKeepsNothingFromSite(t *testing.T) {
	for _, test := range []struct {
		places int
		want   time.Duration
	}{
		{100, 40*10*time.Millisecond + time.Second},
		{10, 5 * time.Second}, // eight at once, a second each
	} {
		synctest.Test(t, func(t *testing.T) {
			store := memspool.New(nil)
			for range 40 {
				commit(t, store, "app", "mx/a")
			}
			var atSite, underWay, most, done atomic.Int32
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			b := benchWith(t, store, func(cfg *sched.Config) {
				cfg.Concurrency = test.places
				cfg.RouteLimit = func(spool.Key) int { return 1 }
				cfg.Deliver = func(
					ctx context.Context, l *spool.Lease, left func(sched.Lesson),
				) {
					if atSite.Add(1) > 1 {
						t.Error("two at a site that takes one")
					}
					most.Store(max(most.Load(), underWay.Add(1)))
					time.Sleep(10 * time.Millisecond)
					atSite.Add(-1)
					left(sched.Lesson{})
					left(sched.Lesson{Health: sched.Unreachable}) // does not count
					time.Sleep(time.Second)
					_ = store.Settle(
						ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
					)
					underWay.Add(-1)
					if done.Add(1) == 40 {
						cancel()
					}
				}
			})
			b.sched.Run(ctx, t.Context())
			if took := time.Since(begun); took > test.want+time.Second/2 {
				t.Errorf("with %d places all took %v, want %v", test.places, took, test.want)
			}
			if int(most.Load()) > test.places {
				t.Errorf("%d under way with %d places", most.Load(), test.places)
			}
		})
	}
}
