package spooltest

import (
	"fmt"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

func settleCases() []testCase {
	return []testCase{
		{"SettleRemaining", nil, (*suite).settleRemaining},
		{"SettleKey", nil, (*suite).settleKey},
		{"SettleLast", nil, (*suite).settleLast},
		{"CommitSettle", nil, (*suite).commitSettle},
		{"CommitSettleLost", nil, (*suite).commitSettleLost},
		{"Stats", nil, (*suite).stats},
	}
}

func (s *suite) settleRemaining() {
	d := s.delivery("a", s.now)
	d.Recipients = []spool.Recipient{
		{Address: "x@a"}, {Address: "y@a", Notify: spool.NotifyNever}, {Address: "z@a"},
	}
	s.commit(d)
	left := d.Recipients
	for i := range 3 {
		l := s.one()
		if l.Delivery.Attempts != i || len(l.Delivery.Recipients) != len(left) ||
			l.Delivery.Recipients[0] != left[0] {
			s.Fatalf("attempt %d: leased %+v, want recipients %+v", i, l.Delivery, left)
		}
		if !l.Delivery.Expires.Equal(d.Expires) || l.Delivery.Key.Route != "a" {
			s.Fatalf("attempt %d: leased %+v", i, l.Delivery)
		}
		left = []spool.Recipient{{
			Address: "y@a", Notify: spool.NotifyNever, Delayed: i > 0, Status: "4.2.0",
			Diagnostic: fmt.Sprint("try ", i), Host: "h",
		}}
		given := slices.Clone(left)
		t := spool.Settlement{
			ID: l.Delivery.ID, Token: l.Token, Remaining: given, Attempts: i + 1,
			Wait: time.Hour,
		}
		if i == 1 { // by the wall clock
			t.Due, t.Wait = s.now.Add(time.Hour), time.Minute
		}
		s.ok(s.Settle(s.Context(), t))
		clear(given)
		s.wantStats(1, 1, 0)
		s.none()
		s.wantWait(spool.LeaseRequest{}, time.Hour)
		s.sleep(time.Hour)
	}
	s.finish(s.one())
	s.wantStats(0, 0, 0)
}

// settleKey moves a delivery.
func (s *suite) settleKey() {
	s.commit(s.delivery("a", s.now), s.delivery("c", s.now.Add(2*time.Minute)))
	l := s.one()
	again := spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Remaining: l.Delivery.Recipients, Wait: -time.Second,
		Attempts: 1, Key: &spool.Key{Route: "b"},
	}
	s.ok(s.Settle(s.Context(), again))
	s.wantRoutes(spool.LeaseRequest{Busy: keys("b")})
	s.wantRoutes(spool.LeaseRequest{Busy: keys("a"), TTL: time.Minute}, "b")
	// The move lasts.
	s.sleep(time.Minute)
	l = s.leaseN(spool.LeaseRequest{Max: 1}, 1)[0]
	again.Token, again.Key, again.Attempts = l.Token, nil, 2
	s.ok(s.Settle(s.Context(), again))
	s.sleep(time.Minute)
	s.wantRoutes(spool.LeaseRequest{}, "b", "c")
}

func (s *suite) settleLast() {
	id := s.commit(s.delivery("a", s.now), s.delivery("b", s.now), s.delivery("c", s.now))
	ls := s.leaseN(spool.LeaseRequest{}, 3)
	for i, l := range ls {
		s.wantStats(1, int64(3-i), int64(3-i))
		s.read(id)
		s.finish(l)
	}
	s.gone(id)
	s.wantStats(0, 0, 0)
	s.sleep(time.Hour)
	s.none()
}

func (s *suite) commitSettle() {
	a := s.commit(s.delivery("a", s.now))
	b := s.commit(s.delivery("b", s.now))
	ls := s.leaseN(spool.LeaseRequest{}, 2)
	if ls[0].Message.ID != a {
		ls[0], ls[1] = ls[1], ls[0]
	}
	id := spool.DeriveID(a, "bounce")
	s.ok(s.write(id, []byte("bounce")).Commit(s.Context(), spool.Commit{
		Deliveries: []spool.Delivery{s.delivery("back", s.now)},
		Settle: []spool.Settlement{
			{ID: ls[0].Delivery.ID, Token: ls[0].Token},
			{
				ID: ls[1].Delivery.ID, Token: ls[1].Token, Remaining: ls[1].Delivery.Recipients,
				Due: s.now.Add(-time.Second), Attempts: 7,
				Key: &spool.Key{Route: "moved"},
			},
		},
	}))
	s.gone(a)
	s.read(b)
	s.wantStats(2, 2, 0)
	l := s.wantRoutes(spool.LeaseRequest{}, "moved", "back")
	if l.Leases[0].Delivery.Attempts != 7 || l.Leases[0].Message.ID != b {
		s.Fatalf("leased %+v", l.Leases[0].Delivery)
	}
	s.is(
		s.Settle(s.Context(), spool.Settlement{ID: ls[0].Delivery.ID, Token: ls[0].Token}),
		spool.ErrLeaseLost,
	)
}

func (s *suite) commitSettleLost() {
	s.commit(s.delivery("a", s.now))
	s.commit(s.delivery("b", s.now))
	ls := s.leaseN(spool.LeaseRequest{}, 2)
	first := spool.Settlement{ID: ls[0].Delivery.ID, Token: ls[0].Token}
	second := spool.Settlement{ID: ls[1].Delivery.ID, Token: ls[1].Token}
	stale := second
	stale.Token++
	for _, settle := range [][]spool.Settlement{
		{first, stale}, {stale, first}, {first, second, first},
	} {
		id := s.id()
		s.is(s.write(id, []byte("bounce")).Commit(s.Context(), spool.Commit{
			Deliveries: []spool.Delivery{s.delivery("back", s.now)}, Settle: settle,
		}), spool.ErrLeaseLost)
		s.gone(id)
		s.none()
		s.wantStats(2, 2, 2)
	}
	// The leases are still held.
	s.ok(s.Settle(s.Context(), first))
	lost, err := s.Renew(s.Context(), time.Hour, []spool.Held{{ID: second.ID, Token: second.Token}})
	if s.ok(err); len(lost) != 0 {
		s.Fatalf("lost %v", lost)
	}
	s.ok(s.Settle(s.Context(), second))
	s.wantStats(0, 0, 0)
}

func (s *suite) stats() {
	for range 3 {
		s.commit(s.delivery("a", s.now), s.delivery("b", s.now.Add(time.Hour)))
	}
	s.leaseN(spool.LeaseRequest{Max: 2}, 2)
	s.wantStats(3, 6, 2)
	st, err := s.Stats(s.Context())
	s.ok(err)
	if want := int64(3 * len("content")); st.Bytes != 0 && st.Bytes != want {
		s.Fatalf("%d bytes, want %d", st.Bytes, want)
	}
}
