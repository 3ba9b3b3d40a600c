package spooltest

import (
	"fmt"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// expectCases are those of a store that may lease what is committed to it. It
// need not: they see what is true in either case.
func expectCases() []testCase {
	return []testCase{
		{"ExpectContents", hasExpecter, (*suite).expectContents},
		{"ExpectOnce", hasExpecter, (*suite).expectOnce},
		{"ExpectHeld", hasExpecter, (*suite).expectHeld},
		{"ExpectNot", func(s spool.Store) bool { return hasExpecter(s) && hasManager(s) },
			(*suite).expectNot},
		{"ExpectMax", func(s spool.Store) bool { return hasExpecter(s) && hasManager(s) },
			(*suite).expectMax},
		{"ExpectOrder", hasExpecter, (*suite).expectOrder},
		{"ExpectLimits", hasExpecter, (*suite).expectLimits},
		{"ExpectTTL", hasExpecter, (*suite).expectTTL},
		{"ExpectSettle", hasExpecter, (*suite).expectSettle},
		{"ExpectWake", func(s spool.Store) bool { return hasExpecter(s) && hasWaker(s) },
			(*suite).expectWake},
	}
}

func hasExpecter(s spool.Store) bool { _, ok := s.(spool.Expecter); return ok }

// asked is how long what was leased by its commit waits for a Lease at least.
const asked = time.Second

// all expects whatever comes.
func all() spool.Expected { return spool.Expected{Max: 1000, TTL: time.Hour, Others: 1000} }

// own is the node that expects, other another one; the same if there is one.
func (s *suite) own() spool.Store   { return s.nodes()[0] }
func (s *suite) other() spool.Store { return s.nodes()[len(s.nodes())-1] }

// expect tells the one node what is expected.
func (s *suite) expect(e spool.Expected) { s.own().(spool.Expecter).Expect(e) }

// on does something with one node alone.
func (s *suite) on(node spool.Store, f func()) {
	both := s.Store
	s.Store = node
	defer func() { s.Store = both }()
	f()
}

// commitOwn commits to the node that expects.
func (s *suite) commitOwn(ds ...spool.Delivery) (id spool.ID) {
	s.Helper()
	s.on(s.own(), func() { id = s.commit(ds...) })
	return id
}

// gather has a node lease until it has n deliveries, each of them once.
func (s *suite) gather(node spool.Store, r spool.LeaseRequest, n int) (list []spool.Lease) {
	s.Helper()
	if r.TTL == 0 {
		r.TTL = time.Hour
	}
	seen := make(map[spool.DeliveryID]bool)
	s.on(node, func() {
		s.Helper()
		for begun := time.Now(); ; time.Sleep(s.pause) {
			for _, l := range s.lease(r).Leases {
				if seen[l.Delivery.ID] {
					s.Fatalf("%v is handed out twice", l.Delivery.ID)
				}
				seen[l.Delivery.ID] = true
				list = append(list, l)
			}
			if len(list) >= n || time.Since(begun) >= s.patience {
				return
			}
		}
	})
	if len(list) != n {
		s.Fatalf("leased %d deliveries, want %d", len(list), n)
	}
	return list
}

func (s *suite) finishAll(list []spool.Lease) {
	s.Helper()
	for _, l := range list {
		s.finish(l)
	}
}

// leased counts those of messages that somebody holds.
func (s *suite) leased(ids []spool.ID) (n int) {
	s.Helper()
	for _, id := range ids {
		_, items, err := s.Store.(spool.Manager).Find(s.Context(), id)
		s.ok(err)
		for _, i := range items {
			if i.State == spool.StateLeased {
				n++
			}
		}
	}
	return n
}

// expectNot leases nothing ahead that must not be: another node can have it at
// once.
func (s *suite) expectNot() {
	a := spool.Key{Route: "a", Domain: "x.example"}
	news := spool.Key{Route: "a", Domain: "x.example", Stream: "news"}
	same := func(*spool.Delivery) {}
	only := func(n int) map[spool.Key]int { return map[spool.Key]int{a: n} }
	const ttl = time.Hour
	for _, c := range []struct {
		what    string
		e       spool.Expected
		change  func(*spool.Delivery)
		n, most int
	}{
		{"nothing is expected", spool.Expected{}, same, 2, 0},
		{"there is no room", spool.Expected{TTL: ttl, Keys: only(9), Others: 9}, same, 2, 0},
		{"it is on hold", all(), func(d *spool.Delivery) { d.Held = true }, 2, 0},
		{"it is not due", all(), func(d *spool.Delivery) { d.Due = s.now.Add(ttl) }, 2, 0},
		{"of the route", spool.Expected{
			Max: 9, TTL: ttl, Keys: only(9), NotRoutes: []string{"b", "a"},
		}, same, 2, 0},
		{"of the stream", spool.Expected{
			Max: 9, TTL: ttl, Keys: only(9), NotStreams: []string{"news"},
		}, same, 2, 0},
		{"of no stream", spool.Expected{
			Max: 9, TTL: ttl, Others: 9, NotStreams: []string{"b", ""},
		}, func(d *spool.Delivery) { d.Key = a }, 2, 0},
		{"none of its key", spool.Expected{Max: 9, TTL: ttl, Keys: only(0), Others: 9}, same, 2, 0},
		{"none of others", spool.Expected{
			Max: 9, TTL: ttl, Keys: map[spool.Key]int{{Route: "b"}: 9},
		}, same, 2, 0},
		{"two", spool.Expected{Max: 2, TTL: ttl, Others: 9}, same, 2, 2},
		{"two of its key", spool.Expected{Max: 9, TTL: ttl, Keys: only(2), Others: 9}, same, 2, 2},
		{"one of others", spool.Expected{Max: 9, TTL: ttl, Others: 1}, same, 2, 1},
	} {
		s.expect(all())
		s.expect(c.e)
		s.tick()
		d := s.delivery("", s.now)
		d.Key = news
		c.change(&d)
		list := []spool.ID{s.commitOwn(slices.Repeat([]spool.Delivery{d}, c.n)...)}
		for range c.n {
			list = append(list, s.commitOwn(d))
		}
		if got := s.leased(list); got > c.most {
			s.Fatalf("%s is expected: leased %d, want %d at most", c.what, got, c.most)
		}
		if d.Held || d.Due.After(s.now) {
			s.takeAll(list)
			continue
		}
		s.finishAll(s.gather(s.other(), spool.LeaseRequest{}, 2*c.n))
	}
	s.wantStats(0, 0, 0)
}

// takeAll takes what Lease does not hand out, and settles it.
func (s *suite) takeAll(list []spool.ID) {
	s.Helper()
	for _, id := range list {
		_, items, err := s.Store.(spool.Manager).Find(s.Context(), id)
		s.ok(err)
		for _, i := range items {
			s.finish(s.take(i.Delivery.ID))
		}
	}
}

// expectMax counts what was leased before and still waits for Lease.
func (s *suite) expectMax() {
	var list []spool.ID
	for i := range 4 {
		s.expect(spool.Expected{Max: 2, TTL: time.Hour, Others: 9})
		list = append(list, s.commitOwn(s.delivery("ab"[i%2:][:1], s.now)))
		if got := s.leased(list); got > 2 {
			s.Fatalf("leased %d, want 2 at most", got)
		}
	}
	s.finishAll(s.gather(s.other(), spool.LeaseRequest{}, len(list)))
}

// expectOrder hands out nothing of a key before what waited of it already, nor
// after what comes later. What has gone back may stand behind others: then it
// is tried again.
func (s *suite) expectOrder() {
	for begun, round := time.Now(), 0; ; round++ {
		s.tick()
		start, due := time.Now(), s.now.Add(-time.Second)
		var want, got []spool.ID
		for i, expected := range []bool{false, true, true, true, false} {
			s.expect(spool.Expected{})
			if expected {
				s.expect(all())
			}
			d := s.delivery(fmt.Sprint("aaabb"[i:][:1], round), due.Add(time.Duration(i)*s.least))
			want = append(want, s.commitOwn(d))
		}
		for _, route := range []string{"a", "a", "a", "b", "b"} {
			l := s.gather(
				s.own(), spool.LeaseRequest{Max: 1, Only: keys(fmt.Sprint(route, round))}, 1,
			)
			got = append(got, l[0].Message.ID)
			s.on(s.own(), func() { s.finishAll(l) })
		}
		switch {
		case slices.Equal(got, want):
			return
		case time.Since(start) < asked:
			s.Fatalf("leased %v, want %v", got, want)
		case time.Since(begun) > s.patience:
			return // it is too slow to tell
		}
	}
}

// expectLimits hands out what a Lease wants, and the rest later.
func (s *suite) expectLimits() {
	s.expect(all())
	for range 3 {
		s.commitOwn(s.delivery("a", s.now), s.delivery("b", s.now))
		s.commitOwn(s.delivery("c", s.now))
	}
	var list []spool.Lease
	s.on(s.own(), func() {
		for _, r := range []spool.LeaseRequest{
			{MaxPerKey: 1, Busy: keys("b")}, {Max: 1, Only: keys("b")},
			{NotRoutes: []string{"a", "c"}, MaxPerKey: 1}, {NotStreams: []string{""}},
		} {
			r.TTL = time.Hour
			list = append(list, s.lease(r).Leases...)
		}
	})
	list = append(list, s.gather(s.own(), spool.LeaseRequest{Max: 2}, 9-len(list))...)
	seen := make(map[spool.DeliveryID]bool)
	for _, l := range list {
		seen[l.Delivery.ID] = true
	}
	if len(seen) != 9 {
		s.Fatalf("leased %d, want 9", len(seen))
	}
	s.finishAll(list)
	s.wantStats(0, 0, 0)
}

// expectHeld has one holder of what was handed out.
func (s *suite) expectHeld() {
	s.none()
	s.expect(all())
	id := s.commitOwn(s.delivery("a", s.now), s.delivery("b", s.now))
	list := s.gather(s.own(), spool.LeaseRequest{}, 2)
	s.none()
	if m, ok := s.other().(spool.Manager); ok {
		_, err := m.Take(s.Context(), spool.DeliveryID{Message: id}, time.Minute)
		s.is(err, spool.ErrLeased)
	}
	s.wantStats(1, 2, 2)
	s.finishAll(list)
	for _, l := range list {
		s.is(s.Settle(s.Context(), again(l)), spool.ErrLeaseLost)
	}
	s.gone(id)
	s.wantStats(0, 0, 0)
}

// expectTTL leases for as long as Lease asks, if that is longer than was told
// before.
func (s *suite) expectTTL() {
	e := all()
	e.TTL = time.Minute
	for _, ttl := range []time.Duration{time.Hour, time.Minute} {
		s.expect(e)
		s.tick()
		s.commitOwn(s.delivery("a", s.now))
		old := s.gather(s.own(), spool.LeaseRequest{TTL: ttl}, 1)[0]
		s.expect(spool.Expected{})
		s.sleep(ttl - s.margin)
		s.none()
		s.sleep(s.margin + 2*asked)
		l := s.one()
		if l.Token == old.Token {
			s.Fatal("two leases have one token")
		}
		s.is(s.Settle(s.Context(), again(old)), spool.ErrLeaseLost)
		s.finish(l)
	}
}

// expectSettle ends leases, prolongs them and gives them back, as others.
func (s *suite) expectSettle() {
	s.expect(all())
	s.commitOwn(s.delivery("a", s.now), s.delivery("b", s.now), s.delivery("c", s.now))
	list := s.gather(s.own(), spool.LeaseRequest{}, 3)
	wrong := held(list[0])
	wrong.Token ^= 1
	lost, err := s.Renew(s.Context(), 3*time.Hour, []spool.Held{
		held(list[0]), wrong, held(list[1]), held(list[2]),
	})
	s.ok(err)
	if !slices.Equal(lost, []spool.Held{wrong}) {
		s.Fatalf("lost %v, want %v", lost, wrong)
	}
	s.sleep(2 * time.Hour)
	s.none()
	s.ok(s.Store.Return(s.Context(), 0, []spool.Held{held(list[0])}))
	back := s.gather(s.other(), spool.LeaseRequest{}, 1)[0]
	if back.Delivery.ID != list[0].Delivery.ID || back.Token == list[0].Token {
		s.Fatalf("leased %+v", back)
	}
	s.lost(held(list[0]))
	once := again(list[1])
	once.Wait, once.Attempts = time.Hour, 1
	s.expect(all())
	id := s.id()
	s.ok(s.write(id, []byte("report")).Commit(s.Context(), spool.Commit{
		Deliveries: []spool.Delivery{s.delivery("back", s.now)},
		Settle:     []spool.Settlement{once, {ID: list[2].Delivery.ID, Token: list[2].Token}},
	}))
	s.finish(back)
	s.finishAll(s.gather(s.other(), spool.LeaseRequest{Only: keys("back")}, 1))
	s.none()
	s.sleep(time.Hour)
	last := s.gather(s.other(), spool.LeaseRequest{}, 1)[0]
	if last.Delivery.Attempts != 1 || last.Delivery.ID != once.ID {
		s.Fatalf("leased %+v", last.Delivery)
	}
	s.finish(last)
	s.wantStats(0, 0, 0)
}

// expectWake tells of what was leased by its commit, and of what goes back.
func (s *suite) expectWake() {
	own, other := s.own(), s.other()
	wake := func(node spool.Store) {
		s.Helper()
		s.none()
		s.asleep()
		s.none() // so that the last answer is that there is nothing
		s.tick()
		s.commitOwn(s.delivery("a", s.now))
		select {
		case <-node.(spool.Waker).Wake():
		case <-time.After(s.patience):
			s.Fatal("not woken")
		}
		s.finishAll(s.gather(node, spool.LeaseRequest{}, 1))
	}
	s.expect(all())
	wake(own)
	if other != own {
		wake(other)
	}
}
