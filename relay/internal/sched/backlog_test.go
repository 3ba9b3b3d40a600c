package sched_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

const (
	backlogDomains = 10_000
	backlogCounted = 50_000 // deliveries, at the beginning of the backlog
)

// BenchmarkBacklog delivers to 10,000 domains of which one in a hundred cannot
// be reached, out of an empty queue, to which as much is added as leaves, and
// out of a long one.
func BenchmarkBacklog(b *testing.B) {
	for _, store := range []string{"memspool", "filespool"} {
		for name, tt := range map[string]struct{ queued, streams int }{
			"1 empty":               {0, 1},
			"2 full":                {1_000_000, 1},
			"3 full, 1,000 streams": {1_000_000, 1000},
		} {
			b.Run(store+"/"+name, func(b *testing.B) {
				for range b.N {
					benchmarkBacklog(b, openStore(b, store), tt.queued, tt.streams)
				}
			})
		}
	}
}

func openStore(b *testing.B, name string) spool.Store {
	if name == "memspool" {
		return memspool.New(nil)
	}
	store, err := filespool.Open(b.TempDir(), &filespool.Options{InsecureNoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	return store
}

func benchmarkBacklog(b *testing.B, store spool.Store, queued, streams int) {
	b.StopTimer()
	put := func(i int) {
		put(b, store, spool.Key{
			Route: "mx/out", Domain: domainOf(i),
			Stream: strings.Repeat("s", min(streams-1, 1)) + strconv.Itoa(i%streams),
		})
	}
	for i := range queued {
		put(i)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	room := make(chan struct{}, 200)
	var done atomic.Int64
	var first time.Duration
	begun := time.Now()
	s := sched.New(sched.Config{
		Store: store, Concurrency: 100, Logger: slog.New(slog.DiscardHandler),
		RouteLimit: func(spool.Key) int { return 20 },
		Owner: func(*spool.Lease) sched.Owner {
			return sched.Owner{Connector: "out", Origin: "app"}
		},
		Overdue: onTime,
		Deliver: whole(func(ctx context.Context, l *spool.Lease) sched.Lesson {
			t := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
			if isDead(l.Delivery.Key.Domain) {
				t.Remaining, t.Wait = l.Delivery.Recipients, time.Hour
				_ = store.Settle(ctx, t)
				return sched.Lesson{Health: sched.Unreachable}
			}
			time.Sleep(time.Millisecond)
			_ = store.Settle(ctx, t)
			switch done.Add(1) {
			case 1:
				first = time.Since(begun)
			case backlogCounted:
				cancel()
			}
			<-room
			return sched.Lesson{}
		}),
	})
	b.StartTimer()
	if queued == 0 {
		go func() {
			for i := 0; ctx.Err() == nil; i++ {
				if put(i); !isDead(domainOf(i)) {
					room <- struct{}{}
				}
				s.Wake()
			}
		}()
	} else {
		close(room)
	}
	s.Run(ctx, b.Context())
	b.StopTimer()
	b.ReportMetric(float64(done.Load())/time.Since(begun).Seconds(), "deliveries/s")
	b.ReportMetric(first.Seconds()*1000, "ms-to-first")
}

// domainOf is that of the message with a number: streams meet all domains.
func domainOf(i int) string { return strconv.Itoa((i*7919 + i/backlogDomains) % backlogDomains) }

func isDead(domain string) bool { return len(domain) > 2 && strings.HasSuffix(domain, "77") }

func put(b *testing.B, s spool.Store, k spool.Key) {
	now := time.Now()
	id := spool.NewID(now)
	w, err := s.Create(b.Context(), id)
	if err == nil {
		err = w.Commit(b.Context(), spool.Commit{
			Message: spool.Message{ID: id, Created: now, From: "app", Stream: k.Stream},
			Deliveries: []spool.Delivery{{
				Key: k, Recipients: []spool.Recipient{{Address: "x@" + k.Domain}}, Due: now,
				Expires: now.Add(time.Hour),
			}},
		})
	}
	if err != nil && b.Context().Err() == nil {
		b.Fatal(fmt.Errorf("put: %w", err))
	}
}
