package sched_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// The mail of everybody else takes at most twice as long as when nothing else
// is queued, while four destinations stall for ten minutes, one stream or
// sender has queued very many messages, and a provider is slow.
func TestDelayOfOthersIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		stream        bool
		many, domains int
	}{
		"a stream to one domain":  {true, 100_000, 1},
		"a stream to 50 domains":  {true, 20_000, 50},
		"a stream to 500 domains": {true, 20_000, 500},
		"a sender to one domain":  {false, 20_000, 1},
		"a sender to 5 domains":   {false, 20_000, 5},
	} {
		t.Run(name, func(t *testing.T) {
			var idle, loaded time.Duration
			synctest.Test(t, func(t *testing.T) {
				idle = delayOfOthers(t, memspool.New(nil), tt.stream)
			})
			synctest.Test(t, func(t *testing.T) {
				store := memspool.New(nil)
				for i := range 400 {
					k := spool.Key{Route: "mx/out", Domain: fmt.Sprint("stalled", i%4)}
					load(t, store, "somebody", k)
				}
				for i := range 400 {
					k := spool.Key{Route: "mx/out", Domain: fmt.Sprint("slow", i%40)}
					load(t, store, fmt.Sprint("user", i%20), k)
				}
				for i := range tt.many {
					k := spool.Key{Route: "mx/out", Domain: fmt.Sprint("many", i%tt.domains)}
					if tt.stream {
						k.Stream = "news"
					}
					load(t, store, "news", k)
				}
				time.Sleep(time.Second)
				loaded = delayOfOthers(t, store, tt.stream)
			})
			if loaded > 2*idle {
				t.Errorf("99 of 100 in %v, want twice %v at most", loaded, idle)
			}
		})
	}
}

// load queues a message from an origin.
func load(t *testing.T, s *memspool.Store, origin string, k spool.Key) {
	now := time.Now()
	err := s.Commit(t.Context(), &spool.Prepared{Commit: spool.Commit{
		Message: spool.Message{
			ID: spool.NewID(now), Created: now, From: origin, Stream: k.Stream,
		},
		Deliveries: []spool.Delivery{{
			Key: k, Recipients: []spool.Recipient{{Address: "x@example.test"}}, Due: now,
			Expires: now.Add(24 * time.Hour),
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// delayOfOthers has fifty users and forty domains exchange mail beside what is
// queued, for two minutes, and returns how long 99 of 100 messages take.
func delayOfOthers(t *testing.T, store *memspool.Store, stream bool) time.Duration {
	c := newTally(func(*spool.Lease) string { return "" })
	c.store = store
	var delays []time.Duration
	b := benchWith(t, store, func(cfg *sched.Config) {
		cfg.Site = providers
		cfg.Owner = func(l *spool.Lease) sched.Owner {
			return sched.Owner{Connector: "out", Origin: l.Message.From}
		}
		cfg.Deliver = whole(func(ctx context.Context, l *spool.Lease) sched.Lesson {
			takes := 100 * time.Millisecond
			switch domain := l.Delivery.Key.Domain; {
			case strings.HasPrefix(domain, "stalled"):
				takes = 10 * time.Minute
			case strings.HasPrefix(domain, "slow"):
				takes = 20 * time.Second
			}
			select {
			case <-time.After(takes):
			case <-ctx.Done():
			}
			if strings.HasPrefix(l.Delivery.Key.Domain, "other") {
				c.mu.Lock()
				delays = append(delays, time.Since(l.Message.Created))
				c.mu.Unlock()
			}
			_ = store.Settle(
				context.Background(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
			)
			return sched.Lesson{}
		})
	})
	const n = 1200
	go func() {
		time.Sleep(20 * time.Second) // the load has settled
		for i := range n {
			time.Sleep(83 * time.Millisecond)
			k := spool.Key{Route: "mx/out", Domain: fmt.Sprint("other", i%40)}
			if stream {
				k.Stream = fmt.Sprint("s", i%7)
			}
			load(t, store, fmt.Sprint("other", i%50), k)
			b.sched.Wake()
		}
	}()
	b.run(t, 140*time.Second)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(delays) < n*98/100 {
		t.Fatalf("%d of %d others delivered", len(delays), n)
	}
	slices.Sort(delays)
	return delays[len(delays)*99/100]
}

// providers makes one site of the slow provider's domains.
func providers(k spool.Key) sched.Site {
	if strings.HasPrefix(k.Domain, "slow") {
		return sched.Site{Name: "slow", Provider: "slow"}
	}
	return sched.Site{Name: k.Route + k.Domain}
}
