package filespool_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

func deliveries(route string, due time.Time) []spool.Delivery {
	return []spool.Delivery{{
		Key: spool.Key{Route: route}, Due: due, Expires: due.Add(48 * time.Hour),
		Recipients: []spool.Recipient{{Address: "someone@example.org"}},
	}}
}

func put(t testing.TB, s spool.Store, id spool.ID, content []byte, ds []spool.Delivery) {
	t.Helper()
	if err := tryPut(t, s, id, content, ds); err != nil {
		t.Fatal(err)
	}
}

func tryPut(
	t testing.TB, s spool.Store, id spool.ID, content []byte, ds []spool.Delivery,
	events ...spool.Record,
) error {
	w, err := s.Create(t.Context(), id)
	if err != nil {
		return err
	}
	for len(content) > 0 {
		n := min(len(content), 32<<10)
		if _, err := w.Write(content[:n]); err != nil {
			w.Abort()
			return err
		}
		content = content[n:]
	}
	return w.Commit(t.Context(), spool.Commit{
		Message:    spool.Message{From: "app@example.com", Created: time.Now()},
		Deliveries: ds,
		Prepend:    []byte("Received: from somewhere by here with ESMTP id x; now\r\n"),
		Events:     events,
	})
}

func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1 << 10, 10 << 10, 1 << 20} {
		for _, sessions := range []int{1, 20, 100} {
			if size == 1<<20 && sessions == 100 {
				continue
			}
			b.Run(fmt.Sprintf("%dK/%d", size>>10, sessions), func(b *testing.B) {
				benchmarkCommit(b, size, sessions)
			})
		}
	}
}

// BenchmarkCommitEvent is BenchmarkCommit with an event of 300 bytes in each
// commit.
func BenchmarkCommitEvent(b *testing.B) {
	for _, size := range []int{1 << 10, 10 << 10} {
		for _, sessions := range []int{1, 20, 100} {
			b.Run(fmt.Sprintf("%dK/%d", size>>10, sessions), func(b *testing.B) {
				e := spool.Record{Time: time.Now(), Data: make([]byte, 300)}
				benchmarkCommit(b, size, sessions, e)
			})
		}
	}
}

func benchmarkCommit(b *testing.B, size, sessions int, events ...spool.Record) {
	s := open(b, b.TempDir(), nil)
	content := make([]byte, size)
	now := time.Now()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range sessions {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				err := tryPut(b, s, spool.NewID(now), content, deliveries("r", now), events...)
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkCycle has messages come in from 20 sessions and go out through 20
// workers.
func BenchmarkCycle(b *testing.B) {
	for _, size := range []int{1 << 10, 10 << 10} {
		b.Run(fmt.Sprintf("%dK", size>>10), func(b *testing.B) {
			s := open(b, b.TempDir(), nil)
			content := make([]byte, size)
			now := time.Now()
			var in atomic.Int64
			in.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			came := make(chan struct{}, 1)
			for range 20 {
				wg.Go(func() {
					for in.Add(-1) >= 0 {
						if err := tryPut(
							b, s, spool.NewID(now), content, deliveries("r", now),
						); err != nil {
							b.Error(err)
							return
						}
						select {
						case came <- struct{}{}:
						default:
						}
					}
				})
			}
			work := make(chan spool.Lease, 20)
			for range 20 {
				wg.Go(func() {
					buf := make([]byte, 32<<10)
					for l := range work {
						r, err := s.Open(b.Context(), l.Message.ID)
						if err != nil {
							b.Error(err)
							return
						}
						for {
							if _, err := r.Read(buf); err != nil {
								break
							}
						}
						r.Close()
						if err := s.Settle(
							b.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
						); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for out := 0; out < b.N && !b.Failed(); {
				l, err := s.Lease(
					b.Context(), spool.LeaseRequest{Max: 20, TTL: time.Minute},
				)
				if err != nil {
					b.Error(err)
				}
				for _, l := range l.Leases {
					work <- l
				}
				if out += len(l.Leases); len(l.Leases) == 0 && out < b.N {
					<-came
				}
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// few are keys of 1,000 domains; many are of 10,000 domains and 1,000 streams,
// nearly all of them different.
func few(i int) spool.Key { return spool.Key{Route: fmt.Sprintf("route-%d.example.org", i%1000)} }

func many(i int) spool.Key {
	return spool.Key{
		Route: "mx/out", Domain: fmt.Sprintf("domain-%d.example.org", i/1000*7919%10_000),
		Stream: fmt.Sprintf("tenant-%d", i%1000),
	}
}

// fill queues n small messages, without syncing.
func fill(t testing.TB, dir string, n int, key func(i int) spool.Key) {
	s := open(t, dir, &filespool.Options{InsecureNoSync: true})
	now := time.Now()
	content := []byte("Subject: hello\r\n\r\nworld\r\n")
	var wg sync.WaitGroup
	const sessions = 50
	for i := range sessions {
		wg.Go(func() {
			for k := i; k < n; k += sessions {
				ds := deliveries("", now.Add(time.Duration(k)))
				ds[0].Key = key(k)
				if err := tryPut(t, s, spool.NewID(now), content, ds); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// measure opens a store with n messages and returns its memory for each.
func measure(t testing.TB, dir string, n int) (perMessage float64, r filespool.Recovery) {
	before := heapBytes()
	s := open(t, dir, nil)
	after := heapBytes()
	r = s.Recovery()
	if r.Messages != n || len(r.Damage) > 0 {
		t.Fatalf("recovered %+v, want %d messages", r, n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return float64(after-before) / float64(n), r
}

// BenchmarkOpen opens a queue of a million messages.
func BenchmarkOpen(b *testing.B) {
	const n = 1_000_000
	for name, key := range map[string]func(int) spool.Key{"few keys": few, "many keys": many} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			fill(b, dir, n, key)
			b.ResetTimer()
			for b.Loop() {
				per, r := measure(b, dir, n)
				b.ReportMetric(per, "B/msg")
				b.ReportMetric(r.Took.Seconds(), "s/open")
			}
		})
	}
}

func TestMemory(t *testing.T) {
	for name, key := range map[string]func(int) spool.Key{"few keys": few, "many keys": many} {
		t.Run(name, func(t *testing.T) { testMemory(t, key) })
	}
}

func testMemory(t *testing.T, key func(int) spool.Key) {
	const n, limit = 100_000, 250
	dir := t.TempDir()
	empty := heapBytes()
	fill(t, dir, n, key)
	per, r := measure(t, dir, n)
	t.Logf("%.0f bytes a message, opened in %v", per, r.Took)
	if per > limit {
		t.Errorf("a queued message takes %.0f bytes of memory, want at most %d", per, limit)
	}

	// It comes back when the queue has been served.
	s := open(t, dir, nil)
	s.Elapse(time.Hour)
	for {
		l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1000, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Leases) == 0 {
			break
		}
		for _, l := range l.Leases {
			if err := s.Settle(
				t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
			); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Flush()
	if held := int64(heapBytes()) - int64(empty); held > 8<<20 {
		t.Errorf("an empty queue takes %d bytes of memory", held)
	}
	put(t, s, spool.NewID(time.Now()), nil, deliveries("a", time.Now()))
}
