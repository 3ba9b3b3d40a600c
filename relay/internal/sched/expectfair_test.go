package sched_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

// all commits several flows at once.
func (f *forward) all(t *testing.T, flows ...flow) {
	t.Helper()
	var g sync.WaitGroup
	for _, v := range flows {
		g.Go(func() { f.put(t, v.n, v.every, v.keys...) })
	}
	g.Wait()
	time.Sleep(100 * time.Millisecond)
}

type flow struct {
	n     int
	every time.Duration
	keys  []spool.Key
}

// A site that hangs, or reaches nobody, while much comes for it, holds up
// nobody else, and what was expected of it waits for it in the store.
func TestExpectedOfASiteThatHangsHoldsUpNobody(t *testing.T) {
	for name, hangs := range map[string]bool{"hangs": true, "is dead": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newForward(t, nil)
				from := time.Now().Add(5 * time.Second)
				ill := func(l *spool.Lease) bool {
					return l.Delivery.Key.Domain == "ill" && time.Since(from) > 0 &&
						time.Since(from) < time.Minute
				}
				f.takes = func(l *spool.Lease) time.Duration {
					if hangs && ill(l) {
						return time.Minute
					}
					return 10 * time.Millisecond
				}
				f.fails = func(l *spool.Lease) bool { return !hangs && ill(l) }
				stop := f.start(t)
				others := domains(20)
				f.all(t, flow{6000, 5 * time.Millisecond, []spool.Key{to("ill")}},
					flow{3000, 10 * time.Millisecond, others})
				for _, k := range others {
					if n, d := f.count(f.begun, k.Domain), f.slowest(k.Domain); n != 150 ||
						d > time.Second {
						t.Errorf("%s: %d of 150 begun, after %v", k.Domain, n, d)
					}
				}
				time.Sleep(5 * time.Minute)
				if s := f.left(t); s.Deliveries != 0 {
					t.Errorf("left: %+v", s)
				}
				stop()
			})
		})
	}
}

// A limit that becomes less is kept, and what was expected before goes out all
// the same, and nothing of it is kept from others.
func TestExpectedKeepsToALimitThatShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var limit atomic.Int64
		limit.Store(20)
		f := newForward(t, func(cfg *sched.Config) {
			cfg.RouteLimit = func(spool.Key) int { return int(limit.Load()) }
		})
		f.takes = func(*spool.Lease) time.Duration { return 100 * time.Millisecond }
		stop := f.start(t)
		peaks := make(chan int)
		go func() {
			time.Sleep(5 * time.Second)
			limit.Store(2)
			f.Limit()
			time.Sleep(time.Second)
			f.mu.Lock()
			first := f.peak["a"]
			f.peak["a"] = 0
			f.mu.Unlock()
			time.Sleep(4 * time.Second)
			peaks <- first
			peaks <- f.count(f.peak, "a")
		}()
		f.all(t, flow{1000, 10 * time.Millisecond, []spool.Key{to("a")}},
			flow{1000, 10 * time.Millisecond, domains(5)})
		if first, then := <-peaks, <-peaks; first < 10 || first > 20 || then != 2 {
			t.Errorf("%d at once, then %d, want 2", first, then)
		}
		for _, k := range domains(5) {
			if n, d := f.count(f.begun, k.Domain), f.slowest(k.Domain); n != 200 ||
				d > time.Second {
				t.Errorf("%s: %d of 200 begun, after %v", k.Domain, n, d)
			}
		}
		time.Sleep(time.Minute) // 20 a second
		if s := f.left(t); s.Deliveries != 0 {
			t.Errorf("left: %+v", s)
		}
		stop()
	})
}

// What waits in the store is not passed by for long by what comes.
func TestExpectedDoesNotGoBeforeWhatWaits(t *testing.T) {
	for name, keys := range map[string][]spool.Key{
		"of the same site": {to("a")}, "of others": domains(5),
		"of all": append(domains(5), to("a")),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newForward(t, nil)
				for range 400 {
					commitKeys(t, f.way, "app", to("a"))
				}
				f.takes = func(*spool.Lease) time.Duration { return 100 * time.Millisecond }
				time.Sleep(time.Second)
				f.start(t)
				f.put(t, 1000, 10*time.Millisecond, keys...)
				time.Sleep(5 * time.Second)
				if s := f.left(t); s.Deliveries != 0 {
					t.Errorf("left: %+v", s)
				}
				// 20 places of 100 milliseconds, and the second before.
				if d := f.slowest("a"); d > 5*time.Second {
					t.Errorf("what waited was begun after %v", d)
				}
			})
		})
	}
}

// Streams have their turns, by weight, whatever is leased by commits: a busy
// one hides none.
func TestExpectedStreamsShareASite(t *testing.T) {
	weigh := func(cfg *sched.Config) {
		limitOf(4)(cfg)
		cfg.Stream = func(stream string) (int, sched.Limit) {
			return map[string]int{"more": 3}[stream], sched.Limit{}
		}
	}
	begin := func(t *testing.T) *forward {
		f := newForward(t, weigh)
		f.takes = func(*spool.Lease) time.Duration { return 100 * time.Millisecond }
		f.start(t)
		return f
	}
	t.Run("few behind many", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := begin(t)
			f.all(t, flow{2000, 10 * time.Millisecond, []spool.Key{of("many", "a")}},
				flow{40, 500 * time.Millisecond, []spool.Key{of("few", "a")}})
			if n, d := f.count(f.begun, "few"), f.slowest("few"); n != 40 || d > 3*time.Second {
				t.Errorf("%d of 40 begun, after %v", n, d)
			}
			if n := f.count(f.begun, "many"); n < 600 {
				t.Errorf("%d of the others, the site takes 40 a second", n)
			}
		})
	})
	t.Run("weights", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := begin(t)
			f.all(t, flow{2000, 10 * time.Millisecond, []spool.Key{of("more", "a")}},
				flow{2000, 10 * time.Millisecond, []spool.Key{of("less", "a")}})
			more, less := f.count(f.begun, "more"), f.count(f.begun, "less")
			if got := float64(more) / float64(less); got < 1.6 || got > 4 || more+less < 700 {
				t.Errorf("%d and %d, want about 3 times as many", more, less)
			}
		})
	})
}

// Limits are kept also of what comes faster than they let through.
func TestExpectedKeepsToLimits(t *testing.T) {
	rate := sched.Limit{Every: time.Second, Burst: 6}
	for name, tt := range map[string]struct {
		limits sched.Limits
		stream sched.Limit
		route  int
		peak   int // at once, of a stream
		most   int // in 20 seconds, of both streams
	}{
		"a route": {route: 3, peak: 3, most: 1e6},
		"connections of a site": {
			limits: sched.Limits{Site: sched.Limit{Connections: 2}}, peak: 2, most: 1e6,
		},
		"connections of a stream": {stream: sched.Limit{Connections: 1}, peak: 1, most: 1e6},
		"rate of a site":          {limits: sched.Limits{Site: rate}, peak: 20, most: 27},
		"rate of a provider":      {limits: sched.Limits{Provider: rate}, peak: 20, most: 27},
		"rate of a stream":        {stream: rate, peak: 20, most: 54},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newForward(t, func(cfg *sched.Config) {
					limitOf(max(tt.route, 20*(1-min(tt.route, 1))))(cfg)
					cfg.Site = func(k spool.Key) sched.Site {
						return sched.Site{Name: k.Domain, Provider: "big"}
					}
					cfg.Limits = func(sched.Site) sched.Limits { return tt.limits }
					cfg.Stream = func(string) (int, sched.Limit) { return 1, tt.stream }
				})
				f.takes = func(*spool.Lease) time.Duration { return 100 * time.Millisecond }
				f.start(t)
				f.all(t, flow{1000, 20 * time.Millisecond, []spool.Key{of("x", "a")}},
					flow{1000, 20 * time.Millisecond, []spool.Key{of("y", "a")}})
				x, y := f.count(f.begun, "x"), f.count(f.begun, "y")
				px, py := f.count(f.peak, "x"), f.count(f.peak, "y")
				if x+y > tt.most || px > tt.peak || py > tt.peak || x+y < 20 {
					t.Errorf("%d and %d begun, %d and %d at once, want %+v", x, y, px, py, tt)
				}
			})
		})
	}
}

// What a process had leased by commits when it died goes out when that has
// ended.
func TestExpectedByTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := newForward(t, nil)
		dead.Expecter.Expect(spool.Expected{Max: 10, TTL: 30 * time.Second, Others: 5})
		dead.put(t, 20, 0, domains(10)...)
		dead.way.cut.Store(true)
		f := newForward(t, nil)
		f.way.Leasing = dead.way.Leasing
		f.start(t)
		time.Sleep(10 * time.Second)
		if s := f.left(t); s.Deliveries != 10 || s.Leased != 10 {
			t.Errorf("after 10 seconds: %+v", s)
		}
		time.Sleep(22 * time.Second)
		if s := f.left(t); s.Deliveries != 0 {
			t.Errorf("once the leases have ended: %+v", s)
		}
	})
}

// What one process cannot begin after all is not kept from another one for
// long.
func TestExpectedIsNotKeptFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ill, well := newForward(t, nil), newForward(t, nil)
		well.way.Leasing = ill.way.Leasing
		from := time.Now().Add(5 * time.Second)
		ill.takes = func(*spool.Lease) time.Duration {
			if time.Now().After(from) {
				return time.Hour
			}
			return 10 * time.Millisecond
		}
		ill.start(t)
		go func() {
			time.Sleep(5 * time.Second)
			well.start(t)
			for range 130 { // it is told of what the other one gives back
				time.Sleep(100 * time.Millisecond)
				well.Scheduler.Wake()
			}
		}()
		ill.put(t, 2600, 5*time.Millisecond, to("a"))
		time.Sleep(5 * time.Second)
		a, b := ill.count(ill.begun, "a"), well.count(well.begun, "a")
		if d := well.slowest("a"); a+b != 2600 || d > 3*time.Second {
			t.Errorf("%d and %d of 2600 begun, after %v", a, b, d)
		}
		if n := ill.count(ill.active, "a"); n != 20 {
			t.Errorf("%d do not end", n)
		}
	})
}

// Of a stream that has its part of all that may wait nothing more is expected.
func TestNothingIsExpectedOfAFullStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForward(t, nil)
		f.takes = func(*spool.Lease) time.Duration { return 100 * time.Millisecond }
		f.start(t)
		var xs, ys []spool.Key
		for _, k := range domains(20) {
			xs, ys = append(xs, of("x", k.Domain)), append(ys, of("y", k.Domain))
		}
		// 53 places of 100 milliseconds.
		f.all(t, flow{4000, time.Millisecond, xs}, flow{200, 20 * time.Millisecond, ys})
		full := 0
		for range 50 { // it has its part again and again while it waits
			switch not := f.expected().NotStreams; {
			case slices.Equal(not, []string{"x"}):
				full++
			case len(not) > 0:
				t.Errorf("expected of all but %v", not)
			}
		}
		if full < 10 {
			t.Errorf("nothing expected of x in %d of 50 looks", full)
		}
		if n, d := f.count(f.begun, "y"), f.slowest("y"); n != 200 || d > time.Second {
			t.Errorf("%d of 200 of the other stream begun, after %v", n, d)
		}
	})
}
