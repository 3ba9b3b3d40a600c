package sched_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

// A site that refuses for its rate gets half as much, once for all that were
// under way, and then more again step by step.
func TestRefusalsForTheRateHalve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTally(func(*spool.Lease) string { return "" })
		refused := 0
		c.says = func(active int) sched.Lesson {
			if active > 16 {
				refused++
				return sched.Lesson{Class: bounce.RateLimited}
			}
			return sched.Lesson{}
		}
		streams(t, c, "app", "a", 5000, 0)
		c.run(t, 30*time.Second, limitOf(50))
		if refused == 0 || refused > 300 {
			t.Errorf("%d refusals", refused)
		}
		// Never far below half of 16: 100 a second at 10 on average.
		if n := c.count[""]; n < 3000 {
			t.Errorf("%d delivered in 30 seconds", n)
		}
	})
}

// A host that cannot take some of the mail for now, by faults of its own, keeps
// its places: the rest goes on as before.
func TestFaultsOfAHostCostNoPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTally(func(*spool.Lease) string { return "" })
		n := 0
		c.says = func(int) sched.Lesson {
			if n++; n%6 == 0 {
				return sched.Lesson{Class: bounce.System}
			}
			return sched.Lesson{}
		}
		streams(t, c, "app", "a", 8000, 0)
		c.run(t, 30*time.Second, limitOf(20))
		if n := c.count[""]; n < 5000 {
			t.Errorf("%d attempts in 30 seconds, the host takes 200 a second", n)
		}
	})
}
