package sched_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

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
			Deliver: whole(b.deliver), Overdue: onTime,
		})
		b.run(t, 2*time.Second)
		if len(b.count) != 22 || b.most != 1 {
			t.Errorf("%d of 22 delivered, %d at once", len(b.count), b.most)
		}
	})
}
