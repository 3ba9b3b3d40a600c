package sched_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
)

// What the limit of a stream keeps back comes again in a row, also when its
// last attempt has ended: it costs the store little, however much it is.
func TestLimitOfAStreamCostsLittle(t *testing.T) {
	for name, tt := range map[string]struct {
		limit  sched.Limit
		takes  time.Duration
		queued int
		least  int // delivered in a minute
		most   int // leased for each
	}{
		"connections": {sched.Limit{Connections: 1}, 100 * time.Millisecond, 700, 750, 20},
		"rate": {
			sched.Limit{Every: 100 * time.Millisecond}, 150 * time.Millisecond, 3000, 950, 24,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTally(byStream)
				c.takes = tt.takes
				store := &watched{Store: c.store, takes: time.Millisecond}
				streams(t, c, "x", "a", tt.queued, 0)
				streams(t, c, "y", "a", tt.queued, 0)
				c.run(t, time.Minute, func(cfg *sched.Config) {
					cfg.Store = store
					cfg.Stream = func(string) (int, sched.Limit) { return 1, tt.limit }
				})
				n := c.count["x"] + c.count["y"] // ten a second of each at best
				if n < tt.least || store.leased > tt.most*n {
					t.Errorf("%d delivered, %d leased for it", n, store.leased)
				}
			})
		})
	}
}
