package sched_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// queue commits n messages for a route.
func queue(t testing.TB, s spool.Store, route string, n int) {
	t.Helper()
	now := time.Now()
	for range n {
		id := spool.NewID(now)
		w, err := s.Create(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		err = w.Commit(t.Context(), spool.Commit{
			Message: spool.Message{ID: id, Created: now},
			Deliveries: []spool.Delivery{{
				Key:        spool.Key{Route: route},
				Recipients: []spool.Recipient{{Address: "x@example.test"}}, Due: now,
				Expires: now.Add(time.Hour),
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// recorder delivers by counting.
type recorder struct {
	store  spool.Store
	mu     sync.Mutex
	active map[string]int
	peak   map[string]int
	count  map[string]int
	takes  time.Duration
	health func(route string) sched.Health
}

func (r *recorder) deliver(ctx context.Context, l *spool.Lease) sched.Lesson {
	route := l.Delivery.Key.Route
	r.mu.Lock()
	r.active[route]++
	r.count[route]++
	r.peak[route] = max(r.peak[route], r.active[route])
	r.mu.Unlock()
	select {
	case <-time.After(r.takes):
	case <-ctx.Done():
	}
	h := r.health(route)
	r.mu.Lock()
	r.active[route]--
	r.mu.Unlock()
	s := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
	if h == sched.Unreachable {
		s.Remaining, s.Due = l.Delivery.Recipients, time.Now()
	}
	_ = r.store.Settle(context.Background(), s)
	return sched.Lesson{Health: h}
}

func newRecorder(s spool.Store) *recorder {
	return &recorder{
		store: s, active: map[string]int{}, peak: map[string]int{}, count: map[string]int{},
		takes: 100 * time.Millisecond, health: func(string) sched.Health { return sched.Reached },
	}
}

// run runs a scheduler for a while of the bubble's time.
func run(t *testing.T, r *recorder, limit int, d time.Duration) {
	t.Helper()
	s := sched.New(sched.Config{
		Store: r.store, Concurrency: 50, Deliver: whole(r.deliver),
		Logger:     slog.New(slog.DiscardHandler),
		RouteLimit: func(spool.Key) int { return limit },
		Owner:      func(l *spool.Lease) sched.Owner { return sched.Owner{Origin: "app"} },
		Overdue:    onTime,
		Conclude:   func(context.Context, *spool.Lease) {},
	})
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	s.Run(ctx, t.Context())
}

func TestRoutesAreBoundedAndFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		queue(t, store, "long", 500)
		queue(t, store, "short", 3)
		r := newRecorder(store)
		run(t, r, 10, 10*time.Second)
		if r.peak["long"] != 10 {
			t.Errorf("long route had %d workers at once, want 10", r.peak["long"])
		}
		if r.count["long"] != 500 || r.count["short"] != 3 {
			t.Errorf("delivered %v", r.count)
		}
	})
}

func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		queue(t, store, "r", 100)
		r := newRecorder(store)
		run(t, r, 20, 50*time.Millisecond) // before the first success
		if r.peak["r"] != 5 {
			t.Errorf("%d workers before the first success, want 5", r.peak["r"])
		}
	})
}

func TestCoolOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		queue(t, store, "dead", 1000)
		queue(t, store, "alive", 10)
		r := newRecorder(store)
		r.health = func(route string) sched.Health {
			if route == "dead" {
				return sched.Unreachable
			}
			return sched.Reached
		}
		run(t, r, 20, 5*time.Minute)
		if n := r.count["dead"]; n < 8 || n > 25 {
			t.Errorf("%d attempts at a dead route in five minutes, want few", n)
		}
		if r.count["alive"] != 10 {
			t.Errorf("%d delivered on the live route, want 10", r.count["alive"])
		}
	})
}

func TestEndGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		queue(t, store, "r", 30)
		r := newRecorder(store)
		r.takes = time.Second
		run(t, r, 1, 1500*time.Millisecond)
		got, err := store.Lease(
			t.Context(), spool.LeaseRequest{Max: 100, TTL: time.Minute},
		)
		if err != nil || len(got.Leases) != 30-r.count["r"] {
			t.Errorf(
				"%d can be leased after the end, want %d (%v)", len(got.Leases), 30-r.count["r"],
				err,
			)
		}
	})
}

func TestPanickingDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		queue(t, store, "r", 2)
		r := newRecorder(store)
		r.health = func(route string) sched.Health { panic(fmt.Sprint("at ", route)) }
		run(t, r, 5, time.Second)
		if r.count["r"] != 2 {
			t.Errorf("%d deliveries begun, want 2", r.count["r"])
		}
	})
}

// lossy is a store that cannot read what it leases.
type lossy struct{ spool.Store }

func (l lossy) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	got, err := l.Store.Lease(ctx, r)
	for i := range got.Leases {
		got.Leases[i].Damaged = spool.ErrDamaged
		got.Leases[i].Delivery.Recipients = nil
	}
	return got, err
}

// TestDamagedStays stops while damaged deliveries wait, of which nobody has
// told yet: they stay in the queue.
func TestDamagedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memspool.New(nil)
		queue(t, s, "a", 8)
		ctx, cancel := context.WithCancel(t.Context())
		scheduler := sched.New(sched.Config{
			Store: lossy{s}, Concurrency: 8, RouteLimit: func(spool.Key) int { return 1 },
			Owner:   func(*spool.Lease) sched.Owner { return sched.Owner{} },
			Overdue: onTime,
			Deliver: whole(func(ctx context.Context, _ *spool.Lease) sched.Lesson {
				<-ctx.Done()
				return sched.Lesson{}
			}),
			Logger: slog.New(slog.DiscardHandler),
		})
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		scheduler.Run(ctx, ctx)
		if st, err := s.Stats(t.Context()); err != nil || st.Deliveries != 8 {
			t.Errorf("stats %+v, %v", st, err)
		}
	})
}
