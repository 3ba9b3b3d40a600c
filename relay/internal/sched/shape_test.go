package sched_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// tally counts deliveries of a scheduler by what a function says of them.
type tally struct {
	store *memspool.Store
	of    func(l *spool.Lease) string
	takes time.Duration
	says  func(active int) sched.Lesson

	mu     sync.Mutex
	all    int
	active map[string]int
	peak   map[string]int
	count  map[string]int
	last   map[string]time.Time
}

func newTally(of func(*spool.Lease) string) *tally {
	return &tally{
		store: memspool.New(nil), of: of, takes: 100 * time.Millisecond,
		says:   func(int) sched.Lesson { return sched.Lesson{} },
		active: map[string]int{}, peak: map[string]int{}, count: map[string]int{},
		last: map[string]time.Time{},
	}
}

func (c *tally) deliver(ctx context.Context, l *spool.Lease) sched.Lesson {
	k := c.of(l)
	c.mu.Lock()
	c.all++
	c.active[k]++
	c.peak[k] = max(c.peak[k], c.active[k])
	lesson := c.says(c.all)
	c.mu.Unlock()
	select {
	case <-time.After(c.takes):
	case <-ctx.Done():
	}
	c.mu.Lock()
	c.all--
	c.active[k]--
	c.count[k]++
	c.last[k] = time.Now()
	c.mu.Unlock()
	s := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
	if lesson.Class != "" {
		s.Remaining, s.Wait = l.Delivery.Recipients, time.Second
	}
	_ = c.store.Settle(context.Background(), s)
	return lesson
}

// run runs a scheduler for a while of the bubble's time.
func (c *tally) run(t *testing.T, d time.Duration, change func(*sched.Config)) {
	t.Helper()
	b := benchWith(t, c.store, func(cfg *sched.Config) {
		cfg.Deliver = whole(c.deliver)
		if change != nil {
			change(cfg)
		}
	})
	b.run(t, d)
}

func byStream(l *spool.Lease) string { return l.Delivery.Key.Stream }
func byDomain(l *spool.Lease) string { return l.Delivery.Key.Domain }

// streams queues messages of a size for a domain.
func streams(t *testing.T, c *tally, stream, domain string, n int, size int) {
	t.Helper()
	for range n {
		id := spool.NewID(time.Now())
		w, err := c.store.Create(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		k := spool.Key{Route: "mx/out", Domain: domain, Stream: stream}
		err = w.Commit(t.Context(), spool.Commit{
			Message: spool.Message{From: stream, Created: time.Now(), Stream: stream},
			Deliveries: []spool.Delivery{{
				Key: k, Recipients: []spool.Recipient{{Address: "x@example.test"}},
				Due: time.Now(), Expires: time.Now().Add(time.Hour),
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func limitOf(n int) func(*sched.Config) {
	return func(cfg *sched.Config) { cfg.RouteLimit = func(spool.Key) int { return n } }
}

// Streams have their turns at a site: one with many messages does not hold up
// another one's few, a heavier one gets more, and one of large messages less.
func TestStreamsShareASite(t *testing.T) {
	t.Run("few behind many", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newTally(byStream)
			streams(t, c, "many", "a", 5000, 0)
			time.Sleep(time.Second)
			streams(t, c, "few", "a", 10, 0)
			begun := time.Now()
			c.run(t, 30*time.Second, limitOf(4))
			// At half of 40 a second they take half of one.
			if took := c.last["few"].Sub(begun); c.count["few"] != 10 || took > 2*time.Second {
				t.Errorf("%d of 10 delivered, after %v", c.count["few"], took)
			}
			if n := c.count["many"]; n < 1000 {
				t.Errorf("%d of the others delivered, the site takes 40 a second", n)
			}
		})
	})
	for name, tt := range map[string]struct {
		weight, size int
		least, most  float64
	}{
		"weights": {3, 0, 1.6, 4},
		"sizes":   {1, 128 << 10, 1.6, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTally(byStream)
				streams(t, c, "more", "a", 2000, 0)
				streams(t, c, "less", "a", 1000, tt.size)
				c.run(t, 40*time.Second, func(cfg *sched.Config) {
					limitOf(4)(cfg)
					cfg.Stream = func(stream string) (int, sched.Limit) {
						return map[string]int{"more": tt.weight, "less": 1}[stream], sched.Limit{}
					}
				})
				got := float64(c.count["more"]) / float64(c.count["less"])
				if got < tt.least || got > tt.most {
					t.Errorf("%v: %.1f times as many, want about 3", c.count, got)
				}
			})
		})
	}
}

// Streams have their turns too where only a rate keeps a site's mail back,
// however slow it is: nobody waits for what another stream had queued before.
func TestStreamsShareARate(t *testing.T) {
	for _, every := range []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Minute} {
		t.Run(every.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTally(byStream)
				streams(t, c, "many", "a", 200, 0)
				time.Sleep(time.Second)
				streams(t, c, "few", "a", 20, 0)
				c.run(t, 60*every, func(cfg *sched.Config) {
					cfg.Limits = func(sched.Site) sched.Limits {
						return sched.Limits{Site: sched.Limit{Every: every}}
					}
				})
				if n := c.count["few"]; n != 20 || c.count["many"] < 30 {
					t.Errorf("%v delivered of 60 in turns", c.count)
				}
			})
		})
	}
}

// A heavy stream has its share also while another one has much more queued.
func TestWeightIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTally(byStream)
		streams(t, c, "many", "a", 500, 0)
		time.Sleep(time.Second)
		streams(t, c, "heavy", "a", 100, 0)
		c.run(t, 6*time.Second, func(cfg *sched.Config) {
			limitOf(2)(cfg)
			cfg.Stream = func(stream string) (int, sched.Limit) {
				return map[string]int{"many": 1, "heavy": 10}[stream], sched.Limit{}
			}
		})
		// The site takes 120 in that time.
		if c.count["heavy"] != 100 {
			t.Errorf("%v delivered", c.count)
		}
	})
}

// oneSite is that of all domains.
func oneSite(cfg *sched.Config) {
	cfg.Site = func(spool.Key) sched.Site { return sched.Site{Name: "mx.example"} }
}

// Domains with the same exchangers share what is known and allowed of them.
func TestDomainsShareASite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTally(func(*spool.Lease) string { return "" })
		for i := range 30 {
			streams(t, c, "app", fmt.Sprint("d", i), 20, 0)
		}
		c.run(t, 20*time.Second, func(cfg *sched.Config) { oneSite(cfg); limitOf(10)(cfg) })
		if c.count[""] != 600 || c.peak[""] != 10 {
			t.Errorf("%d of 600 delivered, %d at once, want 10", c.count[""], c.peak[""])
		}
	})
}

// A domain whose exchangers become known moves to their site.
func TestSiteOfAKeyMayChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTally(byDomain)
		known := time.Now().Add(5 * time.Second)
		streams(t, c, "app", "a", 700, 0)
		streams(t, c, "app", "b", 700, 0)
		c.run(t, 60*time.Second, func(cfg *sched.Config) {
			limitOf(10)(cfg)
			cfg.Site = func(k spool.Key) sched.Site {
				if time.Now().Before(known) {
					return sched.Site{Name: k.Domain}
				}
				return sched.Site{Name: "mx.example"}
			}
			cfg.Limits = func(s sched.Site) sched.Limits {
				if s.Name == "mx.example" {
					return sched.Limits{Site: sched.Limit{Connections: 1}}
				}
				return sched.Limits{}
			}
		})
		// 100 a second for 5 seconds at two sites of 10, then 10 a second.
		if c.count["a"] != 700 || c.count["b"] != 700 || c.peak["a"] > 11 || c.peak["b"] > 11 {
			t.Errorf("%v delivered, %v at once", c.count, c.peak)
		}
		if d := max(c.last["a"].Sub(known), c.last["b"].Sub(known)); d < 20*time.Second {
			t.Errorf("the rest took %v at one site that takes 10 a second", d)
		}
	})
}

// Limits of connections and rates are kept, whatever they are for.
func TestLimitsAreKept(t *testing.T) {
	two := func(k spool.Key) sched.Site {
		return sched.Site{Name: k.Domain, Provider: "big", Source: "192.0.2.1"}
	}
	rate := sched.Limit{Every: time.Second, Burst: 6}
	for name, tt := range map[string]struct {
		limits      sched.Limits
		stream      sched.Limit
		peak        int // at once, over both domains and streams
		least, most int // in a minute
	}{
		"connections of a site": {
			sched.Limits{Site: sched.Limit{Connections: 2}}, sched.Limit{}, 4, 2000, 2410,
		},
		"connections of a provider": {
			sched.Limits{Provider: sched.Limit{Connections: 3}}, sched.Limit{}, 3, 1500, 1810,
		},
		"connections from a source": {
			sched.Limits{Source: sched.Limit{Connections: 2}}, sched.Limit{}, 4, 2000, 2410,
		},
		"connections of a stream": {sched.Limits{}, sched.Limit{Connections: 1}, 4, 1500, 2410},
		"rate of a site":          {sched.Limits{Site: rate}, sched.Limit{}, 12, 120, 134},
		"rate of a provider":      {sched.Limits{Provider: rate}, sched.Limit{}, 6, 60, 67},
		"rate from a source":      {sched.Limits{Source: rate}, sched.Limit{}, 12, 120, 134},
		"rate of a stream":        {sched.Limits{}, rate, 24, 200, 268},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTally(func(*spool.Lease) string { return "" })
				for _, stream := range []string{"x", "y"} {
					streams(t, c, stream, "a", 700, 0)
					streams(t, c, stream, "b", 700, 0)
				}
				c.run(t, time.Minute, func(cfg *sched.Config) {
					cfg.Site = two
					cfg.Limits = func(sched.Site) sched.Limits { return tt.limits }
					cfg.Stream = func(string) (int, sched.Limit) { return 1, tt.stream }
				})
				if n := c.count[""]; n < tt.least || n > tt.most || c.peak[""] > tt.peak {
					t.Errorf("%d in a minute, want %d to %d; %d at once, want %d", n, tt.least,
						tt.most, c.peak[""], tt.peak)
				}
			})
		})
	}
}

// keepers are throttles of one domain.
type keepers struct {
	domain string
	until  time.Time
	part   float64
}

func (k keepers) Until(l *spool.Lease, _ sched.Site) time.Time {
	if l.Delivery.Key.Domain == k.domain {
		return k.until
	}
	return time.Time{}
}

func (k keepers) Slower(s sched.Site) float64 {
	if strings.HasSuffix(s.Name, " "+k.domain) {
		return k.part
	}
	return 1
}

// What a throttle keeps back holds no place and costs little, however much it
// is, and goes out when the throttle has ended.
func TestThrottledHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTally(byDomain)
		streams(t, c, "app", "kept", 3000, 0)
		time.Sleep(time.Second)
		streams(t, c, "app", "free", 10, 0)
		begun := time.Now()
		until := begun.Add(10 * time.Minute)
		cfg := func(cfg *sched.Config) {
			cfg.Throttles = keepers{domain: "kept", until: until, part: 1}
		}
		c.run(t, 9*time.Minute, cfg)
		if took := c.last["free"].Sub(begun); c.count["free"] != 10 || took > 3*time.Second {
			t.Errorf("%d of 10 others delivered after %v", c.count["free"], took)
		}
		if c.count["kept"] != 0 {
			t.Errorf("%d were attempted all the same", c.count["kept"])
		}
		c.run(t, 2*time.Minute, cfg)
		if c.count["kept"] != 3000 {
			t.Errorf("%d of 3000 delivered once it has ended", c.count["kept"])
		}
	})
}

// A throttle leaves a part of what goes to a site at once.
func TestThrottledSiteGetsAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTally(byDomain)
		for _, domain := range []string{"slow", "usual"} {
			streams(t, c, "app", domain, 3000, 0)
		}
		c.run(t, 10*time.Second, func(cfg *sched.Config) {
			cfg.Throttles = keepers{domain: "slow", part: 0.25}
		})
		if c.peak["slow"] != 5 || c.peak["usual"] != 20 {
			t.Errorf("at once %v, want 5 and 20", c.peak)
		}
	})
}
