package sched_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/internal/simtest"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// forward is a scheduler on a store that leases what is committed, as far as
// that is expected. Each call of Lease takes a millisecond.
type forward struct {
	*simtest.Expecter
	*sched.Scheduler
	way   *link
	stuck atomic.Bool                        // leases are not renewed
	takes func(l *spool.Lease) time.Duration // an attempt; 10 milliseconds by default
	fails func(l *spool.Lease) bool          // nobody can be reached

	mu     sync.Mutex
	last   spool.Expected
	slow   map[string]time.Duration // the longest wait of a domain, or of a stream if there is one
	begun  map[string]int
	active map[string]int
	peak   map[string]int
}

// newForward starts one.
func newForward(t *testing.T, change func(*sched.Config)) *forward {
	f := &forward{
		way:   newLink(memspool.New(nil)),
		takes: func(*spool.Lease) time.Duration { return 10 * time.Millisecond },
		fails: func(*spool.Lease) bool { return false },
		slow:  map[string]time.Duration{}, begun: map[string]int{}, active: map[string]int{},
		peak: map[string]int{},
	}
	f.Expecter = simtest.NewExpecter(costly{f.way, &f.stuck})
	b := benchWith(t, f, func(cfg *sched.Config) {
		cfg.Deliver = whole(f.deliver)
		if change != nil {
			change(cfg)
		}
	})
	f.Scheduler = b.sched
	return f
}

// costly is a way to a store that takes its time to lease, and may hang when it
// is to renew.
type costly struct {
	*link
	stuck *atomic.Bool
}

func (c costly) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	time.Sleep(time.Millisecond)
	return c.link.Lease(ctx, r)
}

func (c costly) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) ([]spool.Held, error) {
	if c.stuck.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return c.link.Renew(ctx, ttl, held)
}

// start runs the scheduler until the test or the function that it returns ends
// it.
func (f *forward) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx, ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// Wake is that of the store, whose commits wake the scheduler.
func (f *forward) Wake() <-chan struct{} { return f.Expecter.Wake() }

func (f *forward) Expect(e spool.Expected) {
	f.mu.Lock()
	f.last = e
	f.mu.Unlock()
	f.Expecter.Expect(e)
}

// expected is what was told after a look at how things are now.
func (f *forward) expected() spool.Expected {
	time.Sleep(10 * time.Millisecond)
	f.Scheduler.Wake()
	time.Sleep(10 * time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func nameOf(k spool.Key) string {
	if k.Stream != "" {
		return k.Stream
	}
	return k.Domain
}

func (f *forward) deliver(ctx context.Context, l *spool.Lease) sched.Lesson {
	name := nameOf(l.Delivery.Key)
	f.mu.Lock()
	f.begun[name]++
	f.active[name]++
	f.peak[name] = max(f.peak[name], f.active[name])
	f.slow[name] = max(f.slow[name], time.Since(l.Message.Created))
	f.mu.Unlock()
	select {
	case <-time.After(f.takes(l)):
	case <-ctx.Done():
	}
	f.mu.Lock()
	f.active[name]--
	f.mu.Unlock()
	s := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
	health := sched.Reached
	if ctx.Err() != nil || f.fails(l) {
		s.Remaining, s.Wait, health = l.Delivery.Recipients, time.Minute, sched.Unreachable
	}
	_ = f.Settle(context.Background(), s)
	return sched.Lesson{Health: health}
}

// put commits messages to keys in turn, one each so often.
func (f *forward) put(t *testing.T, n int, every time.Duration, keys ...spool.Key) {
	t.Helper()
	for i := range n {
		commitKeys(t, f.Expecter, "app", keys[i%len(keys)])
		time.Sleep(every)
	}
}

func (f *forward) count(of map[string]int, name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return of[name]
}

func (f *forward) slowest(name string) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.slow[name]
}

// left is what is queued and who has it.
func (f *forward) left(t *testing.T) spool.Stats {
	t.Helper()
	s, err := f.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func to(domain string) spool.Key { return spool.Key{Route: "mx/out", Domain: domain} }

func of(stream, domain string) spool.Key {
	return spool.Key{Route: "mx/out", Domain: domain, Stream: stream}
}

func domains(n int) (list []spool.Key) {
	for i := range n {
		list = append(list, to(fmt.Sprint("d", i)))
	}
	return list
}

// What comes while the relay is busy is delivered without another step of the
// store that leases it.
func TestExpectedIsLeasedByItsCommit(t *testing.T) {
	for name, keys := range map[string][]spool.Key{
		"one site":   {to("a")},
		"many sites": domains(100),
		"streams":    {of("x", "a"), of("y", "a"), of("z", "b"), of("x", "c")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newForward(t, nil)
				f.start(t)
				f.put(t, 1000, 2*time.Millisecond, keys...)
				time.Sleep(5 * time.Second)
				if n := f.left(t).Deliveries; n != 0 {
					t.Errorf("%d of 1000 left", n)
				}
				if n := f.way.handed(); n > 50 || f.Handed() < 950 {
					t.Errorf("%d of 1000 leased by themselves, %d by commits", n, f.Handed())
				}
			})
		})
	}
}

// A message that comes to an idle relay goes out at once.
func TestIdleRelayIsReadyForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForward(t, nil)
		f.start(t)
		for i := range 20 {
			time.Sleep(time.Duration(i+1) * time.Second)
			f.put(t, 1, 0, to(fmt.Sprint("d", i%3)))
		}
		time.Sleep(time.Second)
		for i := range 3 {
			name := fmt.Sprint("d", i)
			if d := f.slowest(name); f.count(f.begun, name) < 6 || d > 2*time.Millisecond {
				t.Errorf("%s: %d begun, the last after %v", name, f.count(f.begun, name), d)
			}
		}
		if f.Handed() != 20 {
			t.Errorf("%d of 20 leased by their commits", f.Handed())
		}
	})
}

// As much is expected of a site as it can take, and begins soon.
func TestExpectedIsWhatThereIsRoomFor(t *testing.T) {
	slow := func(*spool.Lease) time.Duration { return time.Hour }
	brisk := func(*spool.Lease) time.Duration { return 150 * time.Millisecond }
	var begun atomic.Int64
	stalls := func(l *spool.Lease) time.Duration {
		if begun.Add(1) > 500 {
			return slow(l)
		}
		return brisk(l)
	}
	for name, tt := range map[string]struct {
		change      func(*sched.Config)
		takes       func(*spool.Lease) time.Duration
		fails       bool
		n           int
		every       time.Duration
		keys        []spool.Key
		least, most int // of each key
	}{
		"free room": {takes: slow, n: 2, keys: []spool.Key{to("a")}, least: 3, most: 3},
		"full":      {takes: slow, n: 5, keys: []spool.Key{to("a")}},
		"a limit": {
			change: limitOf(2), takes: slow, n: 2, keys: []spool.Key{to("a")},
		},
		"resting": {fails: true, n: 3, every: 200 * time.Millisecond, keys: []spool.Key{to("a")}},
		"room and half a second": { // begins 50 in that time, and 20 have room
			takes: brisk, n: 500, every: 10 * time.Millisecond, keys: []spool.Key{to("a")},
			least: 45, most: 80,
		},
		"nothing has ended for half a second": {
			takes: stalls, n: 565, every: 10 * time.Millisecond, keys: []spool.Key{to("a")},
			most: 1,
		},
		"a rate": {
			change: func(cfg *sched.Config) {
				cfg.Limits = func(sched.Site) sched.Limits {
					return sched.Limits{Site: sched.Limit{Every: 100 * time.Millisecond}}
				}
			},
			takes: brisk, n: 100, every: 100 * time.Millisecond, keys: []spool.Key{to("a")},
			least: 4, most: 6,
		},
		"a rate after a burst": {
			change: func(cfg *sched.Config) {
				cfg.Limits = func(sched.Site) sched.Limits {
					return sched.Limits{
						Site: sched.Limit{Every: 100 * time.Millisecond, Burst: 20},
					}
				}
			},
			n: 25, every: 10 * time.Millisecond, keys: []spool.Key{to("a")}, most: 6,
		},
		"throttled": {
			change: func(cfg *sched.Config) {
				cfg.Throttles = keepers{domain: "a", part: 0.2}
			},
			takes: slow, n: 1, keys: []spool.Key{to("a")},
		},
		"keys of one site": {
			change: oneSite, takes: slow, n: 2,
			keys: []spool.Key{to("a"), to("b")}, least: 2, most: 2, // of 3
		},
		"streams of one site": {
			takes: slow, n: 2, keys: []spool.Key{of("x", "a"), of("y", "a")}, least: 2, most: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newForward(t, tt.change)
				if tt.takes != nil {
					f.takes = tt.takes
				}
				f.fails = func(*spool.Lease) bool { return tt.fails }
				f.start(t)
				f.put(t, tt.n, tt.every, tt.keys...)
				e := f.expected()
				for _, k := range tt.keys {
					k.Stream = ""
					n, ok := e.Keys[k]
					if !ok || n < tt.least || n > tt.most {
						t.Errorf(
							"%d (%t) expected of %v, want %d to %d", n, ok, k, tt.least, tt.most,
						)
					}
				}
				if e.Others != 5 || e.Max <= 0 || e.TTL != 2*time.Minute {
					t.Errorf("%+v", e)
				}
			})
		})
	}
}

// What is for other processes is not expected.
func TestNothingIsExpectedOfRoutesOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lives atomic.Bool
		lives.Store(true)
		f := newForward(t, ownedBy("theirs", &lives))
		f.start(t)
		for range 20 {
			f.put(t, 1, 100*time.Millisecond, spool.Key{Route: "theirs/d"}, to("ours"))
		}
		if e := f.expected(); !slices.Equal(e.NotRoutes, []string{"theirs/d"}) {
			t.Errorf("%+v", e)
		}
		if n := f.Handed(); n > 10 {
			t.Errorf("%d of 20 for others leased by their commits", n)
		}
		lives.Store(false)
		time.Sleep(20 * time.Second)
		if n := f.left(t).Deliveries; n != 0 {
			t.Errorf("%d left once nobody else is there", n)
		}
	})
}

// Nothing is expected while the store does not lease or renew, nor once the
// scheduler has ended.
func TestNothingIsExpectedThatCannotBegin(t *testing.T) {
	none := func(e spool.Expected) bool { return e.Max == 0 && len(e.Keys) == 0 && e.Others == 0 }
	synctest.Test(t, func(t *testing.T) {
		f := newForward(t, nil)
		stop := f.start(t)
		expects := func() bool { return !none(f.expected()) }
		if !expects() {
			t.Error("nothing in the beginning")
		}
		f.way.cut.Store(true)
		f.put(t, 50, 100*time.Millisecond, domains(5)...)
		if expects() {
			t.Error("something while the store fails")
		}
		f.way.cut.Store(false)
		time.Sleep(5 * time.Second)
		if n := f.left(t).Deliveries; n != 0 || !expects() {
			t.Errorf("%d left when it is back", n)
		}
		f.takes = func(*spool.Lease) time.Duration { return 10 * time.Minute }
		f.put(t, 5, 0, domains(5)...)
		f.stuck.Store(true)
		time.Sleep(90 * time.Second)
		if expects() {
			t.Error("something while leases are not renewed")
		}
		f.stuck.Store(false)
		time.Sleep(30 * time.Second)
		if !expects() {
			t.Error("nothing once they are")
		}
		stop()
		f.mu.Lock()
		defer f.mu.Unlock()
		if !none(f.last) {
			t.Errorf("%+v after the end", f.last)
		}
	})
}
