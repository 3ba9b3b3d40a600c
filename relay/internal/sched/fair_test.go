package sched_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// bench runs a scheduler of 100 places over routes named CONNECTOR/WHAT, where
// WHAT says how they behave: "slow" ones hold an attempt for a minute, "dead"
// ones cannot be reached after a minute, all others take 10 milliseconds. The
// origin is in Message.From; "reports of X" are reports.
type bench struct {
	store spool.Store
	sched *sched.Scheduler
	begun time.Time

	mu       sync.Mutex
	active   map[string]int // by route, connector, origin and message
	peak     map[string]int
	all      int
	most     int
	first    map[string]time.Duration // when the route's first attempt ended
	last     map[string]time.Duration
	count    map[string]int
	overdue  func(l *spool.Lease) sched.Overdue
	conclude func(l *spool.Lease)
	takes    map[string]time.Duration // by route
}

func onTime(*spool.Lease) (sched.Overdue, time.Time) { return sched.OnTime, time.Time{} }

func newBench(t *testing.T, store spool.Store) *bench { return benchOf(t, store, 100) }

func benchOf(t *testing.T, store spool.Store, places int) *bench {
	b := &bench{
		store: store, begun: time.Now(),
		active: map[string]int{}, peak: map[string]int{}, count: map[string]int{},
		first: map[string]time.Duration{}, last: map[string]time.Duration{},
		overdue:  func(*spool.Lease) sched.Overdue { return sched.OnTime },
		conclude: func(*spool.Lease) { t.Error("concluded what is on time") },
		takes:    map[string]time.Duration{},
	}
	b.sched = sched.New(sched.Config{
		Store: store, Concurrency: places, Logger: slog.New(slog.DiscardHandler),
		RouteLimit: func(spool.Key) int { return 20 },
		Local:      []string{"mailbox", "transport"},
		Owner: func(l *spool.Lease) sched.Owner {
			connector, _, _ := strings.Cut(l.Delivery.Key.Route, "/")
			origin, report := strings.CutPrefix(l.Message.From, "reports of ")
			return sched.Owner{Connector: connector, Origin: origin, Report: report}
		},
		Deliver: b.deliver,
		Overdue: func(l *spool.Lease) (sched.Overdue, time.Time) {
			return b.overdue(l), time.Time{}
		},
		Conclude: func(_ context.Context, l *spool.Lease) { b.conclude(l) },
	})
	return b
}

// run runs the scheduler for a while of the bubble's time.
func (b *bench) run(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	b.sched.Run(ctx, ctx)
}

func (b *bench) keys(l *spool.Lease) []string {
	connector, _, _ := strings.Cut(l.Delivery.Key.Route, "/")
	return []string{l.Delivery.Key.Route, connector, l.Message.From, l.Message.ID.String()}
}

func (b *bench) note(l *spool.Lease, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all += n
	b.most = max(b.most, b.all)
	for _, k := range b.keys(l) {
		b.active[k] += n
		b.peak[k] = max(b.peak[k], b.active[k])
	}
	if route := l.Delivery.Key.Route; n < 0 {
		b.count[route]++
		b.last[route] = time.Since(b.begun)
		if b.count[route] == 1 {
			b.first[route] = b.last[route]
		}
	}
}

func (b *bench) deliver(ctx context.Context, l *spool.Lease) sched.Health {
	b.note(l, 1)
	defer b.note(l, -1)
	takes, health := 10*time.Millisecond, sched.Reached
	s := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
	if strings.Contains(l.Delivery.Key.Route, "slow") {
		takes = time.Minute
	}
	if d := b.takes[l.Delivery.Key.Route]; d > 0 {
		takes = d
	}
	if strings.Contains(l.Delivery.Key.Route, "dead") {
		takes, health = time.Minute, sched.Unreachable
		s.Remaining, s.Wait = l.Delivery.Recipients, 2*time.Minute
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		s.Remaining, s.Due = l.Delivery.Recipients, l.Delivery.Due
	}
	_ = b.store.Settle(context.Background(), s)
	return health
}

// commit queues one message for some routes.
func commit(t *testing.T, s spool.Store, origin string, routes ...string) {
	t.Helper()
	now := time.Now()
	id := spool.NewID(now)
	w, err := s.Create(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	c := spool.Commit{Message: spool.Message{ID: id, Created: now, From: origin}}
	for _, route := range routes {
		c.Deliveries = append(c.Deliveries, spool.Delivery{
			Key:        spool.Key{Route: route},
			Recipients: []spool.Recipient{{Address: "x@example.test"}},
			Due:        now, Expires: now.Add(time.Hour),
		})
	}
	if err := w.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func routes(pattern string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(pattern, i)
	}
	return list
}

// each queues a message of its own for each route.
func each(t *testing.T, s spool.Store, origin string, list []string) {
	t.Helper()
	for _, route := range list {
		commit(t, s, origin, route)
	}
}

// What others hold up, and what must go on beside it.
func TestNobodyStarvesTheOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		load   func(t *testing.T, s spool.Store)
		others []string // routes of messages queued last, by "app"
		peak   map[string]int
	}{
		"one message to many silent domains": {
			load: func(t *testing.T, s spool.Store) {
				commit(t, s, "app", routes("mx/slow%d", 1000)...)
			},
			others: []string{"mailbox", "mx/healthy", "send/healthy"},
			peak:   map[string]int{"mx": 11},
		},
		"reports that one stranger has caused": {
			load: func(t *testing.T, s spool.Store) {
				each(t, s, "reports of 192.0.2.1", routes("mx/slow%d", 300))
			},
			others: []string{"mailbox", "mx/healthy"},
			peak:   map[string]int{"reports of 192.0.2.1": 10},
		},
		"reports that many strangers have caused": {
			load: func(t *testing.T, s spool.Store) {
				for i := range 300 {
					commit(
						t, s, fmt.Sprintf("reports of 192.0.2.%d", i), fmt.Sprintf("mx/slow%d", i),
					)
				}
			},
			others: []string{"mailbox", "mx/healthy"},
			peak:   map[string]int{"mx": 21},
		},
		"messages of one user to silent domains": {
			load: func(t *testing.T, s spool.Store) {
				each(t, s, "alice", routes("mx%d/slow", 500))
			},
			others: []string{"mailbox", "mx/healthy"},
			peak:   map[string]int{"alice": 64},
		},
		"messages of several users to silent domains": {
			load: func(t *testing.T, s spool.Store) {
				for i := range 3 {
					each(t, s, fmt.Sprint("user", i), routes("mx%d/slow"+fmt.Sprint(i), 100))
				}
			},
			others: []string{"mailbox", "mx/healthy"},
		},
		"a send connector with silent domains": {
			load: func(t *testing.T, s spool.Store) {
				for i := range 300 {
					commit(t, s, fmt.Sprint("user", i), fmt.Sprintf("mx/slow%d", i))
				}
			},
			others: []string{"mailbox", "send/healthy"},
			peak:   map[string]int{"mx": 54},
		},
		"the backlog of stalled destinations": {
			load: func(t *testing.T, s spool.Store) {
				for range 250 {
					each(t, s, "app", routes("send%d/slow", 4))
				}
			},
			others: []string{"mailbox", "send/healthy", "mx/healthy"},
			peak:   map[string]int{"app": 23},
		},
		"local routes that hang": {
			load: func(t *testing.T, s spool.Store) {
				for range 50 {
					commit(t, s, "app", "mailbox/slow")
				}
			},
			others: []string{"mailbox", "send/healthy"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memspool.New(nil)
				tt.load(t, store)
				b := newBench(t, store)
				time.Sleep(time.Millisecond)
				each(t, store, "app", tt.others)
				b.run(t, 30*time.Second)
				for _, route := range tt.others {
					if d, ok := b.first[route]; !ok || d > time.Second {
						t.Errorf("%s delivered after %v (%t)", route, d, ok)
					}
				}
				for who, want := range tt.peak {
					if b.peak[who] > want || b.peak[who] == 0 {
						t.Errorf("%s held %d places, want %d at most", who, b.peak[who], want)
					}
				}
				if b.most > 100 {
					t.Errorf("%d deliveries under way, of 100", b.most)
				}
			})
		})
	}
}

// However few the places, what hangs leaves one to mailboxes, and one to others
// where there are three.
func TestFewPlacesAreSharedToo(t *testing.T) {
	for name, load := range map[string]func(t *testing.T, s spool.Store){
		"one destination": func(t *testing.T, s spool.Store) {
			each(t, s, "alice", slices.Repeat([]string{"smart/slow"}, 30))
		},
		"a connector's destinations": func(t *testing.T, s spool.Store) {
			for i := range 30 {
				commit(t, s, fmt.Sprint("user", i), fmt.Sprintf("smart/slow%d", i))
			}
		},
		"a user's destinations": func(t *testing.T, s spool.Store) {
			each(t, s, "alice", routes("smart%d/slow", 30))
		},
		"a message": func(t *testing.T, s spool.Store) {
			commit(t, s, "alice", routes("smart%d/slow", 30)...)
		},
		"reports": func(t *testing.T, s spool.Store) {
			for i := range 30 {
				commit(t, s, fmt.Sprint("reports of ", i), fmt.Sprintf("smart%d/slow", i))
			}
		},
	} {
		for _, places := range []int{2, 3, 4, 5, 8, 10, 19, 20} {
			t.Run(fmt.Sprint(name, " ", places), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := memspool.New(nil)
					load(t, store)
					b := benchOf(t, store, places)
					time.Sleep(time.Millisecond)
					others := []string{"mailbox", "mx/healthy"}[:min(places-1, 2)]
					each(t, store, "app", others)
					b.run(t, 10*time.Minute)
					for _, route := range others {
						if d, ok := b.first[route]; !ok || d > time.Second {
							t.Errorf("%s delivered after %v (%t)", route, d, ok)
						}
					}
					if b.most > places {
						t.Errorf("%d deliveries under way, of %d", b.most, places)
					}
					if slow := len(b.count) - len(others); slow == 0 {
						t.Error("what is slow had no place")
					}
				})
			})
		}
	}
}

// A bound keeps nobody back for long once there is room: what is healthy goes
// on at the pace of its places.
func TestKeptBackGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		list := routes("mx/d%d", 1000)
		commit(t, store, "app", list...)
		b := newBench(t, store)
		b.run(t, 3*time.Second) // 10 places of 10 ms: a second at best
		if len(b.count) != len(list) {
			t.Errorf("%d of %d delivered", len(b.count), len(list))
		}
	})
}

// After a minute of silence the bound lets the rest through without delay.
func TestKeptBackIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		commit(t, store, "app", append(routes("mx/slow%d", 10), routes("mx/d%d", 200)...)...)
		b := newBench(t, store)
		b.run(t, 80*time.Second)
		if len(b.count) != 210 {
			t.Errorf("%d of 210 delivered", len(b.count))
		}
	})
}

// Routes that nobody answered on share a quarter of the places when they are
// tried again.
func TestRoutesInTroubleShareAQuarter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		for i := range 200 {
			commit(t, store, fmt.Sprint("user", i), fmt.Sprintf("mx%d/dead", i))
		}
		b := newBench(t, store)
		b.run(t, 10*time.Minute) // each has failed once by then
		b.most, b.count = 0, map[string]int{}
		each(t, store, "app", []string{"mx/healthy", "mailbox"})
		b.run(t, 5*time.Minute)
		if b.most > 25 {
			t.Errorf("%d places held by dead routes, want a quarter", b.most)
		}
		if b.count["mx/healthy"] != 1 || b.count["mailbox"] != 1 {
			t.Errorf("delivered %v", b.count)
		}
		if n := len(b.count); n < 80 {
			t.Errorf("%d routes tried in 5 minutes, want what 20 places can", n)
		}
	})
}

// What waits is left to the store.
func TestLittleIsLeasedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		for range 300 {
			each(t, store, "app", routes("send%d/slow", 4))
		}
		b := newBench(t, store)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.sched.Run(ctx, ctx) }()
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			if stats, err := store.Stats(ctx); err != nil || stats.Leased != 20 {
				t.Errorf("leased %d (%v), want the 20 under way", stats.Leased, err)
			}
		}
		cancel()
		<-done
	})
}

// A single place serves everybody in turn.
func TestOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		each(t, store, "app", append(routes("mx/d%d", 20), "mailbox", "transport"))
		b := newBench(t, store)
		b.sched = sched.New(sched.Config{
			Store: store, Concurrency: 1, Logger: slog.New(slog.DiscardHandler),
			RouteLimit: func(spool.Key) int { return 20 }, Local: []string{"mailbox", "transport"},
			Owner: func(*spool.Lease) sched.Owner {
				return sched.Owner{Connector: "mx", Origin: "app", Report: true}
			},
			Deliver: b.deliver, Overdue: onTime,
		})
		b.run(t, 2*time.Second)
		if len(b.count) != 22 || b.most != 1 {
			t.Errorf("%d of 22 delivered, %d at once", len(b.count), b.most)
		}
	})
}

// A jump of the wall clock ends no lease, and begins nothing twice.
func TestClockJumpBeginsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var by atomic.Int64
		store := memspool.New(&memspool.Options{Now: func() time.Time {
			return time.Now().Add(time.Duration(by.Load()))
		}})
		b := newBench(t, store)
		each(t, store, "app", []string{"mx/slow", "send/slow", "mailbox/slow"})
		time.AfterFunc(10*time.Second, func() { by.Store(int64(2 * time.Hour)) })
		time.AfterFunc(30*time.Second, func() { by.Store(int64(5 * time.Hour)) })
		time.AfterFunc(40*time.Second, func() { by.Store(int64(-time.Hour)) })
		b.run(t, 10*time.Minute)
		for route, n := range b.count {
			if n != 1 || b.peak[route] != 1 {
				t.Errorf("%s: %d attempts, %d at once", route, n, b.peak[route])
			}
		}
		if stats, err := store.Stats(t.Context()); err != nil || stats.Messages != 0 {
			t.Errorf("left: %+v (%v)", stats, err)
		}
	})
}

// What has expired on a route that rests ends as fast as the store takes it, in
// a tenth of the places. The rest waits.
func TestExpiredIsConcludedWhileItsRouteRests(t *testing.T) {
	for _, state := range []sched.Overdue{sched.Expired, sched.Late} {
		synctest.Test(t, func(t *testing.T) {
			store := memspool.New(nil)
			b := newBench(t, store)
			expired, concluded, active, most := false, 0, 0, 0
			b.overdue = func(l *spool.Lease) sched.Overdue {
				if expired && l.Message.From == "old" && !l.Delivery.Recipients[0].Delayed {
					return state
				}
				return sched.OnTime
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
			expired = true
			b.run(t, 3*time.Second)
			if concluded < 148 || most > 10 { // the two tried last are due later
				t.Errorf("%d of 150 concluded, %d at once, want 10 at most", concluded, most)
			}
			stats, _ := store.Stats(t.Context())
			if state == sched.Expired && stats.Deliveries > 152 {
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
		b.overdue = func(l *spool.Lease) sched.Overdue {
			switch l.Message.From {
			case "old":
				return sched.Expired
			case "late": // it is attempted instead
				return sched.Late
			}
			return sched.OnTime
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
		b.overdue = func(*spool.Lease) sched.Overdue { return sched.Expired }
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

// BenchmarkRun is the scheduler's cost of a delivery.
func BenchmarkRun(b *testing.B) {
	store := memspool.New(nil)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	queued := make(chan struct{}, 50) // more would measure memspool
	s := sched.New(sched.Config{
		Store: store, Concurrency: 100, Logger: slog.New(slog.DiscardHandler),
		RouteLimit: func(spool.Key) int { return 20 }, Local: []string{"mailbox", "transport"},
		Owner: func(*spool.Lease) sched.Owner {
			return sched.Owner{Connector: "out", Origin: "192.0.2.1"}
		},
		Overdue: onTime,
		Deliver: func(ctx context.Context, l *spool.Lease) sched.Health {
			_ = store.Settle(ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
			<-queued
			return sched.Reached
		},
	})
	go s.Run(ctx, ctx)
	now := time.Now()
	d := []spool.Delivery{{
		Key:        spool.Key{Route: "send/out"},
		Recipients: []spool.Recipient{{Address: "x@example.test"}},
		Due:        now, Expires: now.Add(time.Hour),
	}}
	b.ReportAllocs()
	for b.Loop() {
		queued <- struct{}{}
		w, err := store.Create(ctx, spool.NewID(now))
		if err != nil {
			b.Fatal(err)
		}
		if err := w.Commit(ctx, spool.Commit{Deliveries: d}); err != nil {
			b.Fatal(err)
		}
		s.Wake()
	}
}

// BenchmarkBurst delivers what is queued for a thousand domains behind one send
// connector, 20 milliseconds each.
func BenchmarkBurst(b *testing.B) {
	const n = 4000
	for b.Loop() {
		b.StopTimer()
		store := memspool.New(nil)
		for i := range n {
			queue(b, store, fmt.Sprint("mx/", i%1000), 1)
		}
		b.StartTimer()
		var done atomic.Int64
		ctx, cancel := context.WithCancel(b.Context())
		s := sched.New(sched.Config{
			Store: store, Concurrency: 100, Logger: slog.New(slog.DiscardHandler),
			RouteLimit: func(spool.Key) int { return 20 }, Local: []string{"mailbox"},
			Owner: func(*spool.Lease) sched.Owner {
				return sched.Owner{Connector: "out", Origin: "192.0.2.1"}
			},
			Overdue: onTime,
			Deliver: func(ctx context.Context, l *spool.Lease) sched.Health {
				time.Sleep(20 * time.Millisecond)
				_ = store.Settle(ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
				if done.Add(1) == n {
					cancel()
				}
				return sched.Reached
			},
		})
		s.Run(ctx, b.Context())
		cancel()
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
