package spooltest

import (
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

func managerCases() []testCase {
	return []testCase{
		{"Find", hasManager, (*suite).find},
		{"List", hasManager, (*suite).list},
		{"Take", hasManager, (*suite).takeOne},
		{"Hold", hasManager, (*suite).hold},
		{"HoldStays", hasManager, (*suite).holdStays},
		{"Poison", hasManager, (*suite).poison},
		{"Move", hasManager, (*suite).move},
		{"Cancel", func(s spool.Store) bool { return hasManager(s) && hasLog(s) },
			(*suite).cancelOne},
	}
}

func hasManager(s spool.Store) bool { _, ok := s.(spool.Manager); return ok }

func (s *suite) manager() spool.Manager { return s.Store.(spool.Manager) }

func (s *suite) take(id spool.DeliveryID) spool.Lease {
	s.Helper()
	l, err := s.manager().Take(s.Context(), id, time.Minute)
	s.ok(err)
	if l.Delivery.ID != id || l.Token == 0 {
		s.Fatalf("took %+v, want %v", l, id)
	}
	return l
}

// states are those of a message's deliveries.
func (s *suite) wantStates(id spool.ID, want ...spool.State) {
	s.Helper()
	_, items, err := s.manager().Find(s.Context(), id)
	s.ok(err)
	var got []spool.State
	for _, item := range items {
		got = append(got, item.State)
	}
	if !slices.Equal(got, want) {
		s.Fatalf("the deliveries are %v, want %v", got, want)
	}
}

// again settles a lease so that the delivery stays, due at once.
func again(l spool.Lease) spool.Settlement {
	return spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Remaining: l.Delivery.Recipients,
		Attempts: l.Delivery.Attempts,
	}
}

func (s *suite) find() {
	_, _, err := s.manager().Find(s.Context(), s.id())
	s.is(err, spool.ErrNotFound)
	id := s.commit(s.delivery("a", s.now), s.delivery("b", s.now.Add(time.Hour)))
	m, items, err := s.manager().Find(s.Context(), id)
	s.ok(err)
	if m.ID != id || len(items) != 2 || items[1].Message.ID != id ||
		items[1].Delivery.Key.Route != "b" || items[1].Delivery.Recipients[0].Address != "user@b" ||
		!items[1].Delivery.Due.Equal(s.now.Add(time.Hour)) {
		s.Fatalf("found %+v, %+v", m, items)
	}
	s.wantStates(id, spool.StateWaiting, spool.StateWaiting)
	l := s.one()
	s.wantStates(id, spool.StateLeased, spool.StateWaiting)
	s.ok(s.Store.Return(s.Context(), time.Hour, []spool.Held{held(l)}))
	s.wantStates(id, spool.StateWaiting, spool.StateWaiting)
	s.finish(s.take(l.Delivery.ID))
	s.wantStates(id, spool.StateWaiting)
	s.finish(s.take(items[1].Delivery.ID))
	_, _, err = s.manager().Find(s.Context(), id)
	s.is(err, spool.ErrNotFound)
}

// list reads all pages.
func (s *suite) list() {
	var want []spool.DeliveryID
	for i := range 7 {
		a, b := s.delivery("a", s.now), s.delivery("b", s.now.Add(time.Hour))
		b.Held = i == 0
		id := s.commit(a, b)
		want = append(want, spool.DeliveryID{Message: id}, spool.DeliveryID{Message: id, Seq: 1})
	}
	pages := func(q spool.Query) (ids []spool.DeliveryID) {
		for {
			items, err := s.manager().List(s.Context(), q)
			s.ok(err)
			if len(items) == 0 {
				return ids
			}
			for _, item := range items {
				ids = append(ids, item.Delivery.ID)
			}
			q.After = ids[len(ids)-1]
		}
	}
	check := func(q spool.Query, want []spool.DeliveryID) {
		s.Helper()
		if got := pages(q); !slices.Equal(got, want) {
			s.Fatalf("%+v lists %v, want %v", q, got, want)
		}
	}
	every := func(from int) (ids []spool.DeliveryID) {
		for i := from; i < len(want); i += 2 {
			ids = append(ids, want[i])
		}
		return ids
	}
	check(spool.Query{}, want)
	check(spool.Query{Max: 3}, want)
	check(spool.Query{Max: 2, Key: spool.Key{Route: "b"}}, every(1))
	check(spool.Query{State: spool.StateHeld}, want[1:2])
	s.leaseN(spool.LeaseRequest{}, 7)
	check(spool.Query{State: spool.StateLeased, Max: 4}, every(0))
	check(spool.Query{State: spool.StateWaiting}, every(3))
	check(spool.Query{Key: spool.Key{Route: "c"}}, nil)
}

// takeOne leases a delivery before it is due.
func (s *suite) takeOne() {
	_, err := s.manager().Take(s.Context(), spool.DeliveryID{Message: s.id()}, time.Minute)
	s.is(err, spool.ErrNotFound)
	id := spool.DeliveryID{Message: s.commit(s.delivery("a", s.now.Add(time.Hour)))}
	l := s.take(id)
	_, err = s.manager().Take(s.Context(), id, time.Minute)
	s.is(err, spool.ErrLeased)
	s.wantStats(1, 1, 1)
	// Sooner than it was due.
	t := again(l)
	t.Due = s.now
	s.ok(s.Settle(s.Context(), t))
	l = s.one()
	_, err = s.manager().Take(s.Context(), id, time.Minute)
	s.is(err, spool.ErrLeased)
	s.sleep(time.Minute)
	s.finish(s.take(id)) // the lease has ended
	s.is(s.Settle(s.Context(), again(l)), spool.ErrLeaseLost)
	s.wantStats(0, 0, 0)
}

// hold puts a delivery on hold and releases it.
func (s *suite) hold() {
	d := s.delivery("a", s.now)
	d.Held = true
	id := spool.DeliveryID{Message: s.commit(d)}
	s.none()
	s.wantStats(1, 1, 0)
	s.wantStates(id.Message, spool.StateHeld)
	s.ok(s.Settle(s.Context(), again(s.take(id)))) // released
	l := s.one()
	if l.Delivery.Held {
		s.Fatal("a released delivery counts as held")
	}
	t := again(l)
	t.Held = true
	s.ok(s.Settle(s.Context(), t))
	s.sleep(time.Hour)
	s.none()
	s.wantWait(spool.LeaseRequest{}, -1)
	if l = s.take(id); !l.Delivery.Held {
		s.Fatal("a held delivery does not count as held")
	}
	s.finish(l)
	s.wantStats(0, 0, 0)
}

// holdStays keeps on hold what somebody took and did not settle.
func (s *suite) holdStays() {
	d := s.delivery("a", s.now)
	d.Held = true
	id := spool.DeliveryID{Message: s.commit(d)}
	l := s.take(id)
	s.wantStates(id.Message, spool.StateLeased)
	s.ok(s.Store.Return(s.Context(), 0, []spool.Held{held(l)}))
	s.none()
	s.wantStates(id.Message, spool.StateHeld)
	s.take(id)
	s.sleep(2 * time.Minute)
	s.none()
	s.wantStates(id.Message, spool.StateHeld)
	s.wantStats(1, 1, 0)
}

// move gives a delivery another key.
func (s *suite) move() {
	id := spool.DeliveryID{Message: s.commit(s.delivery("a", s.now))}
	t := again(s.take(id))
	t.Key = &spool.Key{Route: "b", Domain: "example.org", Stream: "news"}
	s.ok(s.Settle(s.Context(), t))
	s.wantRoutes(spool.LeaseRequest{Only: keys("a")})
	l := s.leaseN(spool.LeaseRequest{Only: []spool.Key{*t.Key}}, 1)
	if l[0].Delivery.Key != *t.Key {
		s.Fatalf("leased %+v", l)
	}
	s.finish(l[0])
}

// cancelOne removes a delivery, with an event in the same step.
func (s *suite) cancelOne() {
	id := s.commit(s.delivery("a", s.now.Add(time.Hour)), s.delivery("b", s.now))
	l := s.take(spool.DeliveryID{Message: id})
	s.ok(s.Settle(s.Context(), spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Events: []spool.Record{s.record("removed")},
	}))
	s.wantLog("removed")
	s.wantStates(id, spool.StateWaiting)
	s.wantRoutes(spool.LeaseRequest{}, "b")
}

// poison counts crashes from attempt to attempt, and tells what is set aside
// for them from what is on hold.
func (s *suite) poison() {
	held := s.delivery("a", s.now)
	held.Held = true
	id := s.commit(held, s.delivery("b", s.now))
	l := s.one()
	s.wantCrashes(l, 0)
	for n := 1; n <= 3; n++ {
		t := again(l)
		t.Crashes = n
		s.ok(s.Settle(s.Context(), t))
		s.wantStates(id, spool.StateHeld, spool.StateWaiting)
		l = s.one()
		s.wantCrashes(l, n)
	}
	s.ok(s.Store.Return(s.Context(), 0, []spool.Held{{ID: l.Delivery.ID, Token: l.Token}}))
	t := again(s.take(l.Delivery.ID))
	t.Held, t.Crashes = true, 3
	s.ok(s.Settle(s.Context(), t))
	s.none()
	s.wantStates(id, spool.StateHeld, spool.StatePoison)
	for i, state := range []spool.State{spool.StateHeld, spool.StatePoison} {
		items, err := s.manager().List(s.Context(), spool.Query{State: state})
		if s.ok(err); len(items) != 1 || items[0].Delivery.ID.Seq != i {
			s.Fatalf("%v: %+v", state, items)
		}
	}
	l = s.take(l.Delivery.ID)
	s.wantCrashes(l, 3)
	s.wantStates(id, spool.StateHeld, spool.StateLeased)
	s.ok(s.Settle(s.Context(), again(l))) // released
	s.wantStates(id, spool.StateHeld, spool.StateWaiting)
	s.wantCrashes(s.one(), 0)
}

func (s *suite) wantCrashes(l spool.Lease, want int) {
	s.Helper()
	if l.Delivery.Crashes != want {
		s.Fatalf("%v has crashed %d times, want %d", l.Delivery.ID, l.Delivery.Crashes, want)
	}
}
