package sched_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// watched is a store that counts its calls and can be made to fail, or to
// forget the leases that it gave.
type watched struct {
	*memspool.Store
	mu      sync.Mutex
	leases  int // calls that brought something
	empty   int // calls that brought nothing
	leased  int
	returns int
	renews  []int // leases renewed by each call
	out     []spool.Held
	fail    error         // of Renew
	takes   time.Duration // a call of Lease
}

func (w *watched) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	time.Sleep(w.takes) // not with the lock, whose waiters would stop the bubble's time
	w.mu.Lock()
	defer w.mu.Unlock()
	got, err := w.Store.Lease(ctx, r)
	w.leased += len(got.Leases)
	if len(got.Leases) > 0 {
		w.leases++
	} else {
		w.empty++
	}
	for _, l := range got.Leases {
		w.out = append(w.out, spool.Held{ID: l.Delivery.ID, Token: l.Token})
	}
	return got, err
}

func (w *watched) Return(ctx context.Context, wait time.Duration, held []spool.Held) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.returns++
	return w.Store.Return(ctx, wait, held)
}

func (w *watched) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) ([]spool.Held, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return nil, w.fail
	}
	w.renews = append(w.renews, len(held))
	return w.Store.Renew(ctx, ttl, held)
}

// forget ends all leases.
func (w *watched) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.Store.Return(context.Background(), 0, w.out)
	w.out = nil
}

// An attempt may last for longer than a lease: all are renewed in one call.
func TestLeasesAreRenewedInOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &watched{Store: memspool.New(nil)}
		b := newBench(t, store)
		list := []string{"mx/a", "mx/b", "send/c"}
		for _, route := range list {
			b.takes[route] = 10*time.Minute - 10*time.Second
		}
		each(t, store, "app", list)
		b.run(t, 20*time.Minute)
		for _, route := range list {
			if b.count[route] != 1 || b.peak[route] != 1 {
				t.Errorf("%s: %d attempts, %d at once", route, b.count[route], b.peak[route])
			}
		}
		if n := len(store.renews); n != 19 || slices.Min(store.renews) != 3 {
			t.Errorf("renewed %v, want 3 leases each 30 seconds for 10 minutes", store.renews)
		}
		if stats, err := store.Stats(t.Context()); err != nil || stats.Messages != 0 {
			t.Errorf("left: %+v (%v)", stats, err)
		}
	})
}

// What a process held that is gone is delivered by another one within two and a
// half minutes.
func TestMailOfAKilledProcessGoesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		each(t, store, "app", routes("mx/d%d", 30))
		// The process was killed just after it has renewed its leases.
		held, err := store.Lease(t.Context(), spool.LeaseRequest{Max: 30, TTL: 2 * time.Minute})
		if err != nil || len(held.Leases) != 30 {
			t.Fatal(held, err)
		}
		b := newBench(t, store)
		b.run(t, 150*time.Second)
		if len(b.count) != 30 {
			t.Errorf("%d of 30 delivered", len(b.count))
		}
		for _, l := range held.Leases {
			err := store.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
			if !errors.Is(err, spool.ErrLeaseLost) {
				t.Errorf("a late settlement answers %v", err)
			}
		}
	})
}

// When the store has forgotten the lease of an attempt under way, the attempt
// cannot settle, and the next begins after it: never two at once.
func TestLostLeaseIsServedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &watched{Store: memspool.New(nil)}
		b := newBench(t, store)
		list := []string{"mx/slow", "send/slow", "mailbox/slow"}
		each(t, store, "app", list)
		time.AfterFunc(10*time.Second, store.forget)
		b.run(t, 10*time.Minute)
		for _, route := range list {
			if b.count[route] != 2 || b.peak[route] != 1 {
				t.Errorf("%s: %d attempts, %d at once", route, b.count[route], b.peak[route])
			}
		}
		if stats, err := store.Stats(t.Context()); err != nil || stats.Messages != 0 {
			t.Errorf("left: %+v (%v)", stats, err)
		}
	})
}

// What an attempt did not settle is attempted again without delay when its
// lease was lost.
func TestUnusedLeaseGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &watched{Store: memspool.New(nil)}
		commit(t, store, "app", "mx/d")
		begun := 0
		s := sched.New(sched.Config{
			Store: store, Concurrency: 10, Logger: slog.New(slog.DiscardHandler),
			RouteLimit: func(spool.Key) int { return 20 },
			Owner:      func(*spool.Lease) sched.Owner { return sched.Owner{} },
			Overdue:    onTime,
			Deliver: whole(func(ctx context.Context, l *spool.Lease) sched.Lesson {
				if begun++; begun == 1 {
					time.Sleep(30 * time.Second)
					return sched.Lesson{} // without a settlement
				}
				_ = store.Settle(ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
				return sched.Lesson{}
			}),
		})
		time.AfterFunc(10*time.Second, store.forget)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s.Run(ctx, ctx)
		if stats, _ := store.Stats(t.Context()); begun != 2 || stats.Messages != 0 {
			t.Errorf("%d attempts, left %+v", begun, stats)
		}
	})
}

// A delivery that was leased ahead and whose lease was lost is not begun by
// that lease.
func TestLostLeaseIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &watched{Store: memspool.New(nil)}
		b := newBench(t, store)
		b.takes["send/a"] = 900 * time.Millisecond // the route goes on
		each(t, store, "app", slices.Repeat([]string{"send/a"}, 1500))
		time.AfterFunc(29990*time.Millisecond, store.forget)
		b.run(t, 10*time.Minute)
		// Those under way at that time are served twice, the rest once.
		if n := b.count["send/a"]; n > 1520 || b.peak["send/a"] > 20 {
			t.Errorf("%d attempts at 1500 deliveries, %d at once", n, b.peak["send/a"])
		}
		if stats, err := store.Stats(t.Context()); err != nil || stats.Messages != 0 {
			t.Errorf("left: %+v (%v)", stats, err)
		}
	})
}

// While leases cannot be renewed no others are taken.
func TestNothingIsLeasedWhileRenewingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &watched{Store: memspool.New(nil), fail: errors.New("down")}
		b := newBench(t, store)
		b.takes["mx/a"] = 10 * time.Minute
		each(t, store, "app", []string{"mx/a"})
		time.AfterFunc(time.Minute, func() { each(t, store, "app", []string{"mx/b"}) })
		time.AfterFunc(90*time.Second, func() {
			if n := b.count["mx/b"]; n != 0 {
				t.Errorf("%d attempts while leases cannot be renewed", n)
			}
			store.mu.Lock()
			store.fail = nil
			store.mu.Unlock()
		})
		b.run(t, 15*time.Minute)
		if b.count["mx/a"] != 1 || b.count["mx/b"] != 1 {
			t.Errorf("delivered %v", b.count)
		}
	})
}

// A store is asked for many at a time.
func TestDeliveriesAreLeasedInBatches(t *testing.T) {
	for name, tt := range map[string]struct {
		routes []string
		takes  time.Duration
		least  int // deliveries a call
	}{
		"one smart host":    {[]string{"send/a"}, 20 * time.Millisecond, 8},
		"a slow smart host": {[]string{"send/a"}, 700 * time.Millisecond, 8},
		"many hosts":        {routes("send%d/h", 50), 20 * time.Millisecond, 5},
		"local":             {[]string{"mailbox"}, time.Millisecond, 8},
		"many domains":      {routes("mx/d%d", 400), 50 * time.Millisecond, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &watched{Store: memspool.New(nil), takes: time.Millisecond}
				const n = 2000
				for i := range n {
					commit(t, store, "app", tt.routes[i%len(tt.routes)])
				}
				b := newBench(t, store)
				for _, r := range tt.routes {
					b.takes[r] = tt.takes
				}
				b.run(t, 2*time.Minute)
				calls := store.leases + store.empty + store.returns
				if stats, _ := store.Stats(t.Context()); stats.Messages != 0 {
					t.Errorf("left %+v", stats)
				}
				if n/calls < tt.least {
					t.Errorf("%d deliveries in %d calls that brought something, %d that did not, "+
						"%d returns; %d leased", n, store.leases, store.empty, store.returns,
						store.leased)
				}
			})
		})
	}
}

// A steady stream of messages is leased some at a time, and each delivered
// soon.
func TestTrickleIsLeasedInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &watched{Store: memspool.New(nil), takes: time.Millisecond}
		b := newBench(t, store)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.sched.Run(ctx, ctx) }()
		const n = 1000
		for range n {
			time.Sleep(time.Millisecond)
			commit(t, store, "app", "send/h")
			b.sched.Wake()
		}
		time.Sleep(100 * time.Millisecond)
		cancel()
		<-done
		if b.count["send/h"] != n {
			t.Errorf("%d of %d delivered", b.count["send/h"], n)
		}
		if calls := store.leases + store.empty; calls > n/4 {
			t.Errorf("%d messages leased in %d calls", n, calls)
		}
	})
}

// A lone message is delivered at once.
func TestLoneMessageIsDeliveredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		b := newBench(t, store)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.sched.Run(ctx, ctx) }()
		for i := range 10 {
			time.Sleep(time.Second)
			route := strings.Repeat("x", i+1)
			begun := time.Since(b.begun)
			commit(t, store, "app", route)
			b.sched.Wake()
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			if took := b.last[route] - begun; b.count[route] != 1 || took != 10*time.Millisecond {
				t.Errorf("delivered after %v, want the 10 ms it takes", took)
			}
		}
		cancel()
		<-done
	})
}

// What the store does not let settle is not attempted again before it has
// rested.
func TestUnsettledIsNotServedInALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		commit(t, store, "app", "mailbox")
		var s *sched.Scheduler
		var begun []time.Duration
		began := time.Now()
		s = sched.New(sched.Config{
			Store: store, Concurrency: 10, Logger: slog.New(slog.DiscardHandler),
			RouteLimit: func(spool.Key) int { return 20 }, Local: []string{"mailbox"},
			Overdue: onTime,
			Deliver: whole(func(_ context.Context, l *spool.Lease) sched.Lesson {
				begun = append(begun, time.Since(began))
				s.Unsettled(l.Delivery.ID, time.Hour)
				return sched.Lesson{}
			}),
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Minute)
		defer cancel()
		s.Run(ctx, ctx)
		if len(begun) != 2 || begun[1] < time.Hour || begun[1] > 63*time.Minute {
			t.Errorf("attempts at %v", begun)
		}
	})
}
