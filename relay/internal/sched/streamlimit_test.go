package sched_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
)

// What a stream's connections keep back comes again in a row, also when its
// last attempt has ended: it costs the store little, however much it is.
func TestLimitOfAStreamCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTally(byStream)
		store := &watched{Store: c.store, takes: time.Millisecond}
		streams(t, c, "x", "a", 700, 0)
		streams(t, c, "y", "a", 700, 0)
		c.run(t, time.Minute, func(cfg *sched.Config) {
			cfg.Store = store
			cfg.Stream = func(string) (int, sched.Limit) { return 1, sched.Limit{Connections: 1} }
		})
		// Ten a second of each at best.
		n := c.count["x"] + c.count["y"]
		if n < 750 || store.leased > 20*n {
			t.Errorf("%d delivered, %d leased for it", n, store.leased)
		}
	})
}
