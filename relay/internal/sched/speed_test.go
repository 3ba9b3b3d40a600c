package sched_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

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
		Deliver: whole(func(ctx context.Context, l *spool.Lease) sched.Lesson {
			_ = store.Settle(ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
			<-queued
			return sched.Lesson{}
		}),
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
			Deliver: whole(func(ctx context.Context, l *spool.Lease) sched.Lesson {
				time.Sleep(20 * time.Millisecond)
				_ = store.Settle(ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
				if done.Add(1) == n {
					cancel()
				}
				return sched.Lesson{}
			}),
		})
		s.Run(ctx, b.Context())
		cancel()
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
