package pgspool_test

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const benchSessions = 100

var benchContent = make([]byte, 10<<10)

func init2() {
	for i := range benchContent {
		benchContent[i] = "abcdefghijklmnopqrstuvwxyz \n"[(i*7+i/31)%28]
	}
}

func accept(b *testing.B, s spool.Store, n int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range benchSessions {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				w, err := s.Create(b.Context(), spool.NewID(time.Now()))
				if err == nil {
					_, err = w.Write(benchContent)
				}
				if err == nil {
					err = w.Commit(b.Context(), spool.Commit{Deliveries: []spool.Delivery{{
						Key:        spool.Key{Route: "send/out"},
						Recipients: []spool.Recipient{{Address: "user@example.com"}},
					}}})
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func drain(b *testing.B, s spool.Store, n int) {
	var left atomic.Int64
	left.Store(int64(n))
	work := make(chan spool.Lease)
	var wg sync.WaitGroup
	for range benchSessions {
		wg.Go(func() {
			for l := range work {
				r, err := s.Open(b.Context(), l.Message.ID)
				if err == nil {
					_, err = io.Copy(io.Discard, r)
				}
				if err == nil {
					err = s.Settle(context.Background(), spool.Settlement{
						ID: l.Delivery.ID, Token: l.Token,
					})
				}
				if err != nil {
					b.Error(err)
				}
				left.Add(-1)
			}
		})
	}
	for left.Load() > 0 {
		got, err := s.Lease(b.Context(), spool.LeaseRequest{Max: 64, TTL: 2 * time.Minute})
		if err != nil {
			b.Error(err)
			break
		}
		for _, l := range got.Leases {
			work <- l
		}
		if len(got.Leases) == 0 {
			time.Sleep(2 * time.Millisecond)
		}
	}
	close(work)
	wg.Wait()
}

func BenchmarkAccept(b *testing.B) {
	s := open(b, server.Database(b))
	init2()
	b.ReportAllocs()
	b.ResetTimer()
	accept(b, s, b.N)
}

func BenchmarkDrain(b *testing.B) {
	s := open(b, server.Database(b))
	accept(b, s, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	drain(b, s, b.N)
}

func BenchmarkEndToEnd(b *testing.B) {
	s := open(b, server.Database(b))
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Go(func() { drain(b, s, b.N) })
	accept(b, s, b.N)
	wg.Wait()
}
