package sched

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// BenchmarkExpect is what it costs to tell what is expected of a thousand sites
// with five attempts under way each, which is at most 200 times a second.
func BenchmarkExpect(b *testing.B) {
	s := New(Config{
		Store: memspool.New(nil), Concurrency: 10_000, Logger: slog.New(slog.DiscardHandler),
		RouteLimit: func(spool.Key) int { return 20 },
		Limits:     func(Site) Limits { return Limits{Site: Limit{Every: time.Millisecond}} },
		Owner:      func(*spool.Lease) Owner { return Owner{Connector: "out", Origin: "app"} },
	})
	now := time.Now()
	for i := range 1000 {
		k := spool.Key{Route: "mx/out", Domain: fmt.Sprint("d", i), Stream: "news"}
		r := s.sites.get(k)
		for range 5 {
			l := &spool.Lease{Message: spool.Message{ID: spool.NewID(now)}}
			v := r.stream(s.cfg.Stream, k.Stream)
			s.places.begin(r, v, k, s.places.ownersOf(l, s.cfg.Owner(l)), now)
		}
		r.reached = true
		s.sites.heat(r)
	}
	b.ReportAllocs()
	for b.Loop() {
		if keys := s.sites.expected(&s.places, time.Now()); len(keys) != 1000 {
			b.Fatalf("%d keys", len(keys))
		}
	}
}
