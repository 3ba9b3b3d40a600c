package filespool_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// BenchmarkLease leases and gives back 20 deliveries. Beside 100,000 to one
// domain there are as many to others, of which the request names all: as busy,
// or as those that it wants.
func BenchmarkLease(b *testing.B) {
	for _, c := range []struct{ domains, streams int }{{0, 1}, {1000, 1}, {100, 1000}} {
		s, others := backlog(b, c.domains, c.streams)
		name := fmt.Sprintf("%dx%d", c.domains, c.streams)
		b.Run(name+" busy", func(b *testing.B) {
			benchmarkLease(b, s, spool.LeaseRequest{Busy: others})
		})
		b.Run(name+" only", func(b *testing.B) {
			benchmarkLease(b, s, spool.LeaseRequest{Only: others})
		})
	}
}

// backlog returns a store of 100,000 deliveries to one domain and as many to
// others of so many streams each, and the keys of the others.
func backlog(b *testing.B, domains, streams int) (*filespool.Store, []spool.Key) {
	const n = 100_000
	dir := b.TempDir()
	fill(b, dir, 2*n, func(i int) spool.Key {
		k := spool.Key{Route: "mx/out", Domain: "free.example.org"}
		if i < n && domains > 0 {
			k.Domain = fmt.Sprintf("domain-%d.example.org", i/streams%domains)
			k.Stream = fmt.Sprintf("tenant-%d", i%streams)
		}
		return k
	})
	var others []spool.Key
	for i := range domains {
		d := fmt.Sprintf("domain-%d.example.org", i)
		others = append(others, spool.Key{Route: "mx/out", Domain: d})
	}
	return open(b, dir, nil), others
}

func benchmarkLease(b *testing.B, s *filespool.Store, r spool.LeaseRequest) {
	r.Max, r.TTL = 20, time.Minute
	var back []spool.Held
	b.ReportAllocs()
	for b.Loop() {
		got, err := s.Lease(b.Context(), r)
		if err != nil || len(got.Leases) != r.Max {
			b.Fatal(len(got.Leases), err)
		}
		back = back[:0]
		for _, l := range got.Leases {
			back = append(back, spool.Held{ID: l.Delivery.ID, Token: l.Token})
		}
		if err := s.Return(b.Context(), 0, back); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLeaseNotStreams leases and gives back 20 deliveries. Beside these
// there are older ones of a stream of which nothing is wanted, each to a domain
// of its own.
func BenchmarkLeaseNotStreams(b *testing.B) {
	const wanted = 1000
	for _, n := range []int{1000, 100_000} {
		dir := b.TempDir()
		fill(b, dir, n+wanted, func(i int) spool.Key {
			if i >= n {
				return spool.Key{Route: "mx/out", Domain: "free.example.org"}
			}
			return spool.Key{
				Route: "mx/out", Domain: fmt.Sprintf("domain-%d.example.org", i), Stream: "news",
			}
		})
		s := open(b, dir, nil)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			benchmarkLease(b, s, spool.LeaseRequest{NotStreams: []string{"news"}})
		})
	}
}
