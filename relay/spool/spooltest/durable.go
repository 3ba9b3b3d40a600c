package spooltest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

func durableCases() []testCase {
	return []testCase{
		{"Messages", nil, (*suite).keepsMessages},
		{"Settlements", nil, (*suite).keepsSettlements},
		{"Leases", nil, (*suite).endsLeases},
		{"Random", nil, (*suite).keepsRandom},
		{"Log", hasLog, (*suite).keepsLog},
		{"Claims", hasKeys, (*suite).keepsClaims},
		{"Hold", hasManager, (*suite).keepsHold},
		{"Crashes", hasManager, (*suite).keepsCrashes},
		{"Expected", hasExpecter, (*suite).keepsExpected},
	}
}

// keepsLog keeps events, their places and the places of consumers.
func (s *suite) keepsLog() {
	s.accept(s.record("accepted"))
	l := s.one()
	s.ok(s.Settle(s.Context(), spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Events: []spool.Record{s.record("delivered")},
	}))
	before := s.wantLog("accepted", "delivered")
	s.ok(s.log().Advance(s.Context(), "c", before[0].At))
	for range 2 {
		s.reopen()
		after := s.wantLog("accepted", "delivered")
		for i := range after {
			if after[i].At != before[i].At || !after[i].Time.Equal(before[i].Time) {
				s.Fatalf("record %d is at %d, was at %d", i, after[i].At, before[i].At)
			}
		}
		if at, err := s.log().Cursor(s.Context(), "c"); err != nil || at != before[0].At {
			s.Fatalf("the consumer's place is %d, %v, want %d", at, err, before[0].At)
		}
	}
	s.accept(s.record("more"))
	if list := s.wantLog("accepted", "delivered", "more"); list[2].At <= before[1].At {
		s.Fatalf("a new record is at %d, the last was at %d", list[2].At, before[1].At)
	}
}

// keepsClaims keeps keys for their time.
func (s *suite) keepsClaims() {
	id, err := s.submit(claimOf("s", "k", 1))
	s.ok(err)
	s.finish(s.one())
	s.reopen()
	s.wantClaimed("s", "k", id, 1)
	_, err = s.submit(claimOf("s", "k", 2))
	s.is(err, spool.ErrClaimed)
	s.sleep(2 * time.Hour)
	s.reopen()
	s.wantClaimed("s", "k", spool.ID{}, 0)
}

// keepsHold keeps on hold what is.
func (s *suite) keepsHold() {
	d := s.delivery("a", s.now)
	d.Held = true
	id := s.commit(d, s.delivery("b", s.now))
	t := again(s.one())
	t.Held = true
	s.ok(s.Settle(s.Context(), t))
	s.reopen()
	s.none()
	s.wantStates(id, spool.StateHeld, spool.StateHeld)
	s.ok(s.Settle(s.Context(), again(s.take(spool.DeliveryID{Message: id, Seq: 1}))))
	s.reopen()
	s.wantRoutes(spool.LeaseRequest{}, "b")
	s.wantStates(id, spool.StateHeld, spool.StateLeased)
}

// keepsCrashes keeps how often attempts have crashed, and what is set aside for
// it.
func (s *suite) keepsCrashes() {
	d := s.delivery("a", s.now)
	d.Held, d.Crashes = true, spool.PoisonCrashes
	id := s.commit(d, s.delivery("b", s.now))
	t := again(s.one())
	t.Crashes = 1
	s.ok(s.Settle(s.Context(), t))
	s.reopen()
	s.wantStates(id, spool.StatePoison, spool.StateWaiting)
	l := s.one()
	s.wantCrashes(l, 1)
	t = again(l)
	t.Held, t.Crashes = true, 2
	s.ok(s.Settle(s.Context(), t))
	s.reopen()
	s.none()
	s.wantStates(id, spool.StatePoison, spool.StatePoison)
}

func (s *suite) keepsMessages() {
	want, created := map[spool.ID][]byte{}, s.now
	for _, n := range []int{0, 10, 5000, 200_000, 1 << 20} {
		id := s.id()
		want[id] = bytes.Repeat([]byte("abcdefg\n"), n/8)
		s.ok(s.write(id, want[id]).Commit(s.Context(), spool.Commit{
			Message: spool.Message{
				From: "sender@example.com", Created: s.now, Labels: map[string]string{"k": "v"},
			},
			Deliveries: []spool.Delivery{
				s.delivery("a", s.now), s.delivery("b", s.now.Add(time.Hour)),
			},
		}))
	}
	for range 2 {
		s.reopen()
		if s.served {
			s.none(keys("unknown")...) // a store may count what has ended until it looks
		}
		s.wantStats(5, 10, 0)
		for id, content := range want {
			if !bytes.Equal(s.read(id), content) {
				s.Fatalf("%v did not come back as written", id)
			}
			s.inUse(id)
		}
		l := s.wantRoutes(spool.LeaseRequest{}, "a", "a", "a", "a", "a")
		if m := l.Leases[0].Message; m.From != "sender@example.com" || m.Labels["k"] != "v" ||
			!m.Created.Equal(created) {
			s.Fatalf("leased %+v", m)
		}
		if l.Wait > time.Hour {
			s.Fatalf("wait is %v", l.Wait)
		}
	}
}

func (s *suite) keepsSettlements() {
	a := s.commit(s.delivery("a", s.now), s.delivery("b", s.now.Add(s.least)))
	s.sleep(time.Second)
	ls := s.leaseN(spool.LeaseRequest{}, 2)
	s.finish(ls[0])
	due := s.now
	s.ok(s.Settle(s.Context(), spool.Settlement{
		ID: ls[1].Delivery.ID, Token: ls[1].Token, Due: due, Attempts: 2,
		Key:       &spool.Key{Route: "c", Stream: "s"},
		Remaining: []spool.Recipient{{Address: "left@b", Status: "4.0.0"}},
	}))
	s.reopen()
	s.wantStats(1, 1, 0)
	l := s.one()
	if d := l.Delivery; d.ID.Seq != 1 || d.Key != (spool.Key{Route: "c", Stream: "s"}) ||
		d.Attempts != 2 ||
		d.Recipients[0].Address != "left@b" || !d.Due.Equal(due) {
		s.Fatalf("leased %+v", d)
	}
	b := spool.DeriveID(a, "bounce")
	s.ok(s.write(b, []byte("bounce")).Commit(s.Context(), spool.Commit{
		Deliveries: []spool.Delivery{s.delivery("back", s.now)},
		Settle:     []spool.Settlement{{ID: l.Delivery.ID, Token: l.Token}},
	}))
	s.reopen()
	s.wantStats(1, 1, 0)
	s.gone(a)
	l = s.one()
	if l.Message.ID != b {
		s.Fatalf("leased %v, want %v", l.Message.ID, b)
	}
	s.finish(l)
	s.reopen()
	s.wantStats(0, 0, 0)
	s.none()
}

// endsLeases ends leases with the store, or of a Served at the end of their
// time.
func (s *suite) endsLeases() {
	s.commit(s.delivery("a", s.now))
	old := s.one()
	s.reopen()
	if !s.served {
		s.is(
			s.Settle(s.Context(), spool.Settlement{ID: old.Delivery.ID, Token: old.Token}),
			spool.ErrLeaseLost,
		)
	}
	l := s.one()
	if l.Token == old.Token {
		s.Fatal("a token was used twice")
	}
	s.is(
		s.Settle(s.Context(), spool.Settlement{ID: old.Delivery.ID, Token: old.Token}),
		spool.ErrLeaseLost,
	)
	s.finish(l)
}

// keepsRandom compares a store with what it should hold through many steps.
func (s *suite) keepsRandom() {
	type state struct {
		attempts int
		route    string
	}
	random := rand.New(rand.NewPCG(1, 2))
	want := make(map[spool.DeliveryID]state)
	sizes := make(map[spool.ID]int)
	check := func() {
		s.Helper()
		messages := make(map[spool.ID]bool)
		for id := range want {
			messages[id.Message] = true
		}
		st, err := s.Stats(s.Context())
		s.ok(err)
		if int(st.Messages) != len(messages) || int(st.Deliveries) != len(want) {
			s.Fatalf("stats are %+v, want %d messages, %d deliveries", st, len(messages), len(want))
		}
	}
	for range 400 {
		switch n := random.IntN(40); {
		case n < 16:
			id := s.id()
			ds := make([]spool.Delivery, 1+random.IntN(3))
			for i := range ds {
				route := fmt.Sprint("r", random.IntN(4))
				ds[i] = s.delivery(route, s.now)
				want[spool.DeliveryID{Message: id, Seq: i}] = state{route: route}
			}
			sizes[id] = random.IntN(3000)
			if random.IntN(20) == 0 {
				sizes[id] = 200_000
			}
			s.ok(
				s.write(
					id, bytes.Repeat([]byte{id[15]}, sizes[id]),
				).Commit(s.Context(), spool.Commit{Deliveries: ds}),
			)
		case n < 39:
			for _, l := range s.lease(spool.LeaseRequest{Max: 1 + random.IntN(4)}).Leases {
				id := l.Delivery.ID
				w, ok := want[id]
				if !ok || w.attempts != l.Delivery.Attempts || w.route != l.Delivery.Key.Route {
					s.Fatalf("leased %+v, want %+v, %v", l.Delivery, w, ok)
				}
				if c := s.read(id.Message); len(c) != sizes[id.Message] ||
					len(c) > 0 && c[0] != id.Message[15] {
					s.Fatalf("content of %v has %d bytes", id.Message, len(c))
				}
				t := spool.Settlement{ID: id, Token: l.Token}
				if random.IntN(3) > 0 {
					delete(want, id)
				} else {
					w.attempts++
					t.Remaining, t.Due, t.Attempts = l.Delivery.Recipients, s.now, w.attempts
					if random.IntN(2) == 0 {
						w.route = fmt.Sprint("r", random.IntN(4))
						t.Key = &spool.Key{Route: w.route}
					}
					want[id] = w
				}
				s.ok(s.Settle(s.Context(), t))
			}
		default:
			s.reopen()
		}
		check()
	}
	s.reopen()
	check()
	for _, l := range s.leaseN(spool.LeaseRequest{Max: 1 << 20}, len(want)) {
		w, ok := want[l.Delivery.ID]
		if !ok || w.attempts != l.Delivery.Attempts || w.route != l.Delivery.Key.Route {
			s.Fatalf("leased %+v, want %+v, %v", l.Delivery, w, ok)
		}
		delete(want, l.Delivery.ID)
	}
	if len(want) != 0 {
		s.Fatalf("%d deliveries are missing", len(want))
	}
}
