package filespool_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// Whoever wants nothing of a stream passes by what waits of it once, and not
// with each request: that holds up all who use the store.
func TestStreamLeftOutCostsNothing(t *testing.T) {
	t.Parallel()
	const news, others = 2000, 20
	s := open(t, t.TempDir(), &filespool.Options{InsecureNoSync: true})
	now := time.Now()
	send := func(domain, stream string, due time.Time) {
		ds := deliveries("", due)
		ds[0].Key = spool.Key{Route: "mx/out", Domain: domain, Stream: stream}
		put(t, s, spool.NewID(now), nil, ds)
	}
	for i := range news {
		send(fmt.Sprintf("domain-%d.example", i), "news", now.Add(-time.Hour))
	}
	for i := range others {
		send("domain-1.example", "", now.Add(-time.Duration(i+1)*time.Second))
	}
	lease := func(r spool.LeaseRequest) (got []spool.Lease, compared int) {
		r.TTL = time.Minute
		compared = s.Compared(func() {
			l, err := s.Lease(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			got = l.Leases
		})
		return got, compared
	}
	for i := range others / 2 {
		got, n := lease(spool.LeaseRequest{Max: 2, NotStreams: []string{"news"}})
		if len(got) != 2 || got[0].Delivery.Key.Stream != "" {
			t.Fatalf("leased %+v", got)
		}
		if i > 0 && n > news/10 {
			t.Fatalf("the lines were compared %d times", n)
		}
	}
	if got, _ := lease(spool.LeaseRequest{Max: 2 * news}); len(got) != news {
		t.Fatalf("%d of the stream were leased afterwards, want %d", len(got), news)
	}
}
