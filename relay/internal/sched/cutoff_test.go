package sched_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

// Attempts of a process that is cut off from the store end before the store
// gives their deliveries to another one, which then makes all of them. It
// begins nothing before it has renewed its leases.
func TestCutOffProcessStops(t *testing.T) {
	for name, tt := range map[string]struct {
		lease time.Duration
		hangs bool
	}{
		"refused":       {2 * time.Minute, false},
		"a short lease": {5 * time.Second, false},
		"hangs":         {2 * time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t, 10*tt.lease)
				each(t, c.store, "app", slices.Repeat(routes("mx/d%d", 10), 4))
				lease := func(cfg *sched.Config) { cfg.LeaseTime = tt.lease }
				a := c.begin("a", lease)
				time.Sleep(tt.lease / 12)
				a.cut.Store(true)
				a.hangs.Store(tt.hangs)
				c.begin("b", lease)
				time.Sleep(tt.lease * 5 / 4)
				if n := c.count(c.ended, "a"); n != 40 {
					t.Errorf("%d attempts of 40 ended with their leases", n)
				}
				if n := c.count(c.active, "b"); n != 40 {
					t.Errorf("the other one is at %d of 40", n)
				}
				time.Sleep(tt.lease)
				a.cut.Store(false)
				close(a.mend)
				time.Sleep(10 * tt.lease)
				if n := c.count(c.settled, "b"); n != 40 || c.left() != 0 {
					t.Errorf("the other one settled %d of 40, %d are left", n, c.left())
				}
			})
		})
	}
}

// A process that was stopped for longer than a lease lasts, after it has asked
// for deliveries, begins none of them when it goes on.
func TestStoppedProcessBeginsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, time.Minute)
		a := c.begin("a", nil)
		a.stops.Store(int64(3 * time.Minute))
		each(t, c.store, "app", routes("mx/d%d", 30))
		a.Wake()
		time.Sleep(time.Second)
		c.begin("b", nil)
		time.Sleep(10 * time.Minute)
		if n := c.count(c.settled, "b"); n != 30 {
			t.Errorf("the other one has settled %d of 30", n)
		}
		if n := c.count(c.most, "a"); n != 0 {
			t.Errorf("%d attempts of the one that was stopped", n)
		}
	})
}

// What is leased ahead and waits is not begun once its lease has ended.
func TestWhatWaitsEndsWithItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 900*time.Millisecond)
		a := c.begin("a", func(cfg *sched.Config) { cfg.LeaseTime = time.Second })
		each(t, c.store, "app", slices.Repeat([]string{"send/a"}, 200))
		a.Wake()
		time.Sleep(5 * time.Second)
		a.cut.Store(true)
		time.Sleep(2 * time.Second)
		if n := c.count(c.active, "a"); n != 0 {
			t.Errorf("%d attempts under way", n)
		}
		refused := c.count(c.refused, "a")
		time.Sleep(time.Minute)
		if n := c.count(c.refused, "a"); n != refused {
			t.Errorf("%d attempts begun without a store", n-refused)
		}
		a.cut.Store(false)
		time.Sleep(time.Minute)
		if c.left() != 0 {
			t.Errorf("%d left", c.left())
		}
	})
}

// An attempt whose lease the store says is lost ends at the next renewal.
func TestLostLeaseEndsItsAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, time.Hour)
		commit(t, c.store, "app", "mx/d")
		var lease *spool.Lease
		var cause error
		begun := time.Now()
		var took time.Duration
		c.begin("a", func(cfg *sched.Config) {
			deliver := cfg.Deliver
			cfg.Deliver = func(ctx context.Context, l *spool.Lease, left func(sched.Lesson)) {
				if lease != nil {
					deliver(ctx, l, left)
					return
				}
				lease = l
				<-ctx.Done()
				cause, took = context.Cause(ctx), time.Since(begun)
				left(sched.Lesson{Health: sched.Unreachable})
			}
		})
		time.Sleep(40 * time.Second)
		synctest.Wait()
		held := spool.Held{ID: lease.Delivery.ID, Token: lease.Token}
		if err := c.store.Return(t.Context(), time.Hour, []spool.Held{held}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if !errors.Is(cause, spool.ErrLeaseLost) || took != time.Minute {
			t.Errorf("the attempt ended by %v after %v", cause, took)
		}
	})
}

// What a killed process held goes out again when the lease has ended, which may
// be short.
func TestShortLeaseIsTakenOverSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, time.Second)
		each(t, c.store, "app", routes("mx/d%d", 30))
		held, err := c.store.Lease(t.Context(), spool.LeaseRequest{Max: 30, TTL: 5 * time.Second})
		if err != nil || len(held.Leases) != 30 {
			t.Fatal(held, err)
		}
		c.begin("b", func(cfg *sched.Config) { cfg.LeaseTime = 5 * time.Second })
		time.Sleep(6250 * time.Millisecond)
		if n := c.count(c.settled, "b"); n != 30 {
			t.Errorf("settled %d of 30", n)
		}
	})
}
