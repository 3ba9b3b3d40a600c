package spooltest

import (
	"fmt"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

func leaseCases() []testCase {
	return []testCase{
		{"LeaseOrder", nil, (*suite).leaseOrder},
		{"LeaseAtOnce", nil, (*suite).leaseAtOnce},
		{"LeaseLimits", nil, (*suite).leaseLimits},
		{"LeaseKeys", nil, (*suite).leaseKeys},
		{"LeaseStreams", nil, (*suite).leaseStreams},
		{"LeaseWait", nil, (*suite).leaseWait},
		{"LeaseOnly", nil, (*suite).leaseOnly},
		{"LeaseTokens", nil, (*suite).leaseTokens},
		{"Return", nil, (*suite).giveBack},
		{"Fencing", nil, (*suite).fencing},
		{"Renew", nil, (*suite).renew},
	}
}

// leaseTokens gives each lease a token that nobody can guess from others.
func (s *suite) leaseTokens() {
	const n = 64
	for range n {
		s.commit(s.delivery("a", s.now))
	}
	seen := make(map[uint64]bool)
	upper := make(map[uint64]bool)
	for range 3 {
		for _, l := range s.leaseN(spool.LeaseRequest{Max: n, TTL: time.Minute}, n) {
			if l.Token == 0 || seen[l.Token] || seen[l.Token-1] || seen[l.Token+1] {
				s.Fatalf("token %d is not a random one", l.Token)
			}
			seen[l.Token], upper[l.Token>>32] = true, true
		}
		s.sleep(time.Minute)
	}
	if len(upper) < n {
		s.Fatalf("the tokens have %d different upper halves", len(upper))
	}
}

// leaseAtOnce hands out what is due at once by the store's clock, behind what
// was due before.
func (s *suite) leaseAtOnce() {
	s.commit(s.delivery("r0", time.Time{}))
	s.sleep(time.Second)
	s.commit(s.delivery("r2", time.Time{}))
	s.commit(s.delivery("r1", s.now.Add(-500*time.Millisecond)))
	s.wantRoutes(spool.LeaseRequest{}, "r0", "r1", "r2")
}

func (s *suite) leaseOrder() {
	for _, after := range []int{5, 1, 4, 0, 3, 2} {
		s.commit(s.delivery(fmt.Sprint("r", after), s.now.Add(time.Duration(after+1)*time.Minute)))
	}
	s.none()
	s.sleep(4 * time.Minute)
	s.wantRoutes(spool.LeaseRequest{Max: 2}, "r0", "r1")
	s.wantRoutes(spool.LeaseRequest{}, "r2", "r3")
	// A lease that has ended does not lose its place in the order.
	s.sleep(time.Hour)
	s.wantRoutes(spool.LeaseRequest{Max: 5}, "r0", "r1", "r2", "r3", "r4")
	s.wantRoutes(spool.LeaseRequest{}, "r5")
}

func (s *suite) leaseLimits() {
	for i := range 4 {
		s.commit(
			s.delivery("a", s.now.Add(time.Duration(i)*s.least)),
			s.delivery("b", s.now.Add(time.Duration(i)*s.least)),
		)
	}
	s.commit(s.delivery("c", s.now.Add(time.Second)))
	s.sleep(time.Minute)
	s.wantRoutes(spool.LeaseRequest{Busy: keys("a", "c", "unknown"), Max: 1}, "b")
	s.wantRoutes(spool.LeaseRequest{MaxPerKey: 1}, "a", "b", "c")
	s.wantRoutes(spool.LeaseRequest{MaxPerKey: 2, Busy: keys("b")}, "a", "a")
	s.wantRoutes(spool.LeaseRequest{}, "b", "a", "b")
	s.none()
}

// leaseKeys tells keys apart by each of their parts. In a request, no stream is
// every stream.
func (s *suite) leaseKeys() {
	all := []spool.Key{
		{Route: "mx/out", Domain: "a.example", Stream: "news"},
		{Route: "mx/out", Domain: "a.example"},
		{Route: "mx/out", Domain: "b.example", Stream: "news"},
		{Route: "mx/other", Domain: "a.example", Stream: "news"},
		{Route: "mx/out", Stream: "a.example"},
	}
	put := func() {
		s.tick()
		for i, k := range all {
			d := s.delivery("", s.now.Add(time.Duration(i-9)*time.Millisecond))
			d.Key = k
			s.commit(d, d)
		}
	}
	want := func(r spool.LeaseRequest, want ...int) {
		s.Helper()
		numbers := func(l spool.Leased) (got []int) {
			for _, l := range l.Leases {
				got = append(got, slices.Index(all, l.Delivery.Key))
			}
			return got
		}
		l := s.leaseUntil(r, func(l spool.Leased) bool { return slices.Equal(numbers(l), want) })
		if got := numbers(l); !slices.Equal(got, want) {
			s.Fatalf("leased %v, want %v", got, want)
		}
		for _, l := range l.Leases {
			s.finish(l)
		}
	}
	put()
	want(spool.LeaseRequest{Only: []spool.Key{{Route: "mx/out"}}}, 4, 4)
	want(spool.LeaseRequest{Busy: []spool.Key{all[1], {Route: "mx/other"}}, MaxPerKey: 1}, 2, 3)
	want(spool.LeaseRequest{Only: []spool.Key{all[1]}, MaxPerKey: 1}, 0, 1)
	want(spool.LeaseRequest{Only: []spool.Key{all[1]}, Busy: all[:1]}, 1)
	want(spool.LeaseRequest{NotRoutes: []string{"mx/out", "mx"}, MaxPerKey: 1}, 3)
	out := []string{"mx/out"}
	want(spool.LeaseRequest{Only: all[3:], NotRoutes: []string{"mx/other"}})
	want(spool.LeaseRequest{Busy: all[3:4], NotRoutes: out})
	s.wantIdle(spool.LeaseRequest{NotRoutes: append(out, "mx/other")})
	want(spool.LeaseRequest{NotStreams: []string{"news"}})
	s.wantIdle(spool.LeaseRequest{NotStreams: []string{"news"}})
	put()
	want(spool.LeaseRequest{NotStreams: []string{"news", "a.example"}}, 1, 1)
	want(spool.LeaseRequest{NotStreams: []string{"", "a.example"}, MaxPerKey: 1}, 0, 2, 3)
	want(spool.LeaseRequest{Only: all[4:], NotStreams: []string{"news"}}, 4, 4)
	want(spool.LeaseRequest{}, 0, 0, 2, 2, 3)
}

// leaseStreams hands out something of each stream of a route and domain,
// however much older what is due of another one.
func (s *suite) leaseStreams() {
	put := func(stream string, n int, due time.Time) {
		d := s.delivery("", due)
		d.Key = spool.Key{Route: "mx/out", Domain: "a.example", Stream: stream}
		for range n {
			s.commit(d)
		}
	}
	put("much", 40, s.now.Add(-time.Minute))
	put("", 2, s.now.Add(-time.Second))
	put("little", 2, s.now.Add(-time.Second))
	s.tick()
	count := func(l spool.Leased) map[string]int {
		got := make(map[string]int)
		for _, l := range l.Leases {
			got[l.Delivery.Key.Stream]++
		}
		return got
	}
	only := []spool.Key{{Route: "mx/out", Domain: "a.example"}}
	for _, r := range []spool.LeaseRequest{{Max: 12}, {Max: 12, Only: only}} {
		l := s.leaseUntil(r, func(l spool.Leased) bool { return len(count(l)) == 3 })
		got := count(l)
		if len(got) != 3 || got["much"] == 0 {
			s.Fatalf("leased %v", got)
		}
		var back []spool.Held
		for _, l := range l.Leases {
			back = append(back, held(l))
		}
		s.ok(s.Store.Return(s.Context(), 0, back))
	}
}

func (s *suite) leaseWait() {
	s.wantWait(spool.LeaseRequest{}, -1)
	s.commit(s.delivery("a", s.now.Add(time.Minute)))
	s.commit(s.delivery("b", s.now.Add(time.Hour)))
	s.wantWait(spool.LeaseRequest{}, time.Minute)
	s.wantWait(spool.LeaseRequest{Busy: keys("a")}, time.Hour)
	s.wantWait(spool.LeaseRequest{Busy: keys("a", "b")}, -1)
	s.wantWait(spool.LeaseRequest{NotRoutes: []string{"a", "b"}}, -1)
	s.wantWait(spool.LeaseRequest{NotStreams: []string{""}}, -1)
	s.commit(s.delivery("c", s.now))
	s.commit(s.delivery("c", s.now))
	for _, r := range []spool.LeaseRequest{{Max: 1, TTL: time.Hour}, {MaxPerKey: 1, TTL: s.least}} {
		s.leaseN(r, 1)
		s.sleep(time.Second)
	}
	s.commit(s.delivery("c", s.now))
	if l := s.leaseUntil(spool.LeaseRequest{Max: 1}, func(l spool.Leased) bool {
		return len(l.Leases) == 1 && l.Wait == 0
	}); len(l.Leases) != 1 || l.Wait != 0 {
		s.Fatalf("leased %d, and wait is %v with more due", len(l.Leases), l.Wait)
	}
}

func (s *suite) fencing() {
	s.commit(s.delivery("a", s.now))
	old := s.one()
	s.none()
	s.sleep(time.Minute - s.margin)
	s.none()
	s.sleep(s.margin)
	l := s.one()
	if l.Token == old.Token {
		s.Fatal("two leases have one token")
	}
	s.is(
		s.Settle(s.Context(), spool.Settlement{ID: old.Delivery.ID, Token: old.Token}),
		spool.ErrLeaseLost,
	)
	s.lost(held(old))
	s.is(s.Settle(s.Context(), spool.Settlement{ID: old.Delivery.ID}), spool.ErrLeaseLost)
	s.finish(l)
	s.is(
		s.Settle(s.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}),
		spool.ErrLeaseLost,
	)
	s.lost(held(l))
	s.is(
		s.Settle(s.Context(), spool.Settlement{ID: spool.DeliveryID{Message: s.id()}, Token: 1}),
		spool.ErrLeaseLost,
	)
	s.wantStats(0, 0, 0)
}

// renew prolongs what is held in one call, and tells what is not.
func (s *suite) renew() {
	s.commit(s.delivery("a", s.now))
	s.commit(s.delivery("b", s.now.Add(s.least)))
	s.commit(s.delivery("c", s.now.Add(2*s.least)))
	s.sleep(time.Second)
	l := s.leaseN(spool.LeaseRequest{}, 3)
	stranger := spool.Held{
		ID: spool.DeliveryID{Message: l[0].Message.ID, Seq: 1}, Token: l[0].Token,
	}
	wrong := held(l[1])
	wrong.Token ^= 1
	lost, err := s.Renew(
		s.Context(), time.Hour, []spool.Held{stranger, held(l[0]), wrong, held(l[2])},
	)
	s.ok(err)
	if !slices.Equal(lost, []spool.Held{stranger, wrong}) {
		s.Fatalf("lost %v, want %v", lost, []spool.Held{stranger, wrong})
	}
	s.sleep(2 * time.Minute)
	s.wantRoutes(spool.LeaseRequest{}, "b")
	s.sleep(time.Hour)
	s.wantRoutes(spool.LeaseRequest{}, "a", "b", "c")
}

// leaseOnly asks for some routes alone.
func (s *suite) leaseOnly() {
	for i := range 3 {
		for _, route := range []string{"a", "b", "c"} {
			s.commit(s.delivery(route, s.now.Add(time.Duration(i)*time.Minute)))
		}
	}
	only := spool.LeaseRequest{Only: keys("c", "unknown", "b", "c"), TTL: time.Hour}
	if l := s.wantRoutes(only, "b", "c"); !s.isWait(l.Wait, time.Minute) {
		s.Fatalf("wait is %v, want a minute", l.Wait)
	}
	s.sleep(30 * time.Minute)
	only.MaxPerKey = 1
	s.wantRoutes(only, "b", "c")
	only.MaxPerKey, only.Max = 0, 1
	first, other := s.leaseN(only, 1)[0].Delivery.Key.Route, "c"
	if first == "c" && s.served { // one of its key was given back and stood behind this one
		other = "b"
	} else if first != "b" {
		s.Fatalf("leased %q, want b", first)
	}
	only.Max, only.Busy = 0, keys(first, "a")
	s.wantRoutes(only, other)
	s.wantRoutes(spool.LeaseRequest{}, "a", "a", "a")
	s.none()
}

// giveBack returns deliveries without an attempt.
func (s *suite) giveBack() {
	s.commit(s.delivery("a", s.now))
	s.commit(s.delivery("b", s.now.Add(s.least)))
	s.sleep(time.Second)
	l := s.leaseN(spool.LeaseRequest{TTL: time.Hour}, 2)
	due := l[0].Delivery.Due
	wrong := held(l[1])
	wrong.Token ^= 1
	s.ok(s.Store.Return(s.Context(), time.Minute, []spool.Held{wrong, held(l[0])}))
	s.wantStats(2, 2, 1)
	s.none()
	s.wantWait(spool.LeaseRequest{}, time.Minute)
	s.lost(held(l[0]))
	s.sleep(time.Minute)
	again := s.wantRoutes(spool.LeaseRequest{}, "a")
	if d := again.Leases[0].Delivery; d.Attempts != 0 || !d.Due.Equal(due) {
		s.Fatalf("leased %+v, want it unchanged", d)
	}
	s.is(s.Settle(s.Context(), spool.Settlement{
		ID: l[0].Delivery.ID, Token: l[0].Token,
	}), spool.ErrLeaseLost)
	// At once.
	s.ok(s.Store.Return(s.Context(), 0, []spool.Held{held(again.Leases[0])}))
	s.wantRoutes(spool.LeaseRequest{}, "a")
	s.finish(l[1])
}
