package spooltest

import (
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// testCase is a test of a part that a store may have; has is nil for what every
// store has.
type testCase struct {
	name string
	has  func(s spool.Store) bool
	test func(*suite)
}

// ofParts are the cases of what a store has.
func ofParts(s spool.Store, list []testCase) []testCase {
	return slices.DeleteFunc(list, func(c testCase) bool { return c.has != nil && !c.has(s) })
}

// ofBubble are those of a store that is opened in a bubble.
func ofBubble(
	t *testing.T, list []testCase, open func(t *testing.T) spool.Store,
) (some []testCase) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		some = ofParts(s, list)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
	return some
}

type suite struct {
	*testing.T
	spool.Store
	clock
	now    time.Time // at the last sleep
	ids    int
	reopen func() // closes the store and opens it again
}

// newSuite tests a store in a bubble.
func newSuite(t *testing.T, s spool.Store) *suite {
	return &suite{T: t, Store: s, now: time.Now(), clock: clock{
		now: time.Now, advance: time.Sleep, least: 1, margin: 1,
		patience: time.Minute, pause: time.Millisecond,
	}}
}

func keys(routes ...string) []spool.Key {
	list := make([]spool.Key, len(routes))
	for i, r := range routes {
		list[i].Route = r
	}
	return list
}

func held(l spool.Lease) spool.Held { return spool.Held{ID: l.Delivery.ID, Token: l.Token} }

// lost tells the store to prolong a lease that it must not know.
func (s *suite) lost(h spool.Held) {
	s.Helper()
	lost, err := s.Renew(s.Context(), time.Hour, []spool.Held{h})
	s.ok(err)
	if !slices.Equal(lost, []spool.Held{h}) {
		s.Fatalf("%v is held, want it lost", h.ID)
	}
}

func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) is(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("error is %v, want %v", err, want)
	}
}

func (s *suite) id() spool.ID {
	s.ids++
	return spool.NewID(s.now.Add(time.Duration(s.ids) * time.Millisecond))
}

// delivery is one due at a time with one recipient.
func (s *suite) delivery(route string, due time.Time) spool.Delivery {
	return spool.Delivery{
		Key: spool.Key{Route: route}, Due: due, Expires: s.now.Add(48 * time.Hour),
		Recipients: []spool.Recipient{{Address: "user@" + route}},
	}
}

func (s *suite) write(id spool.ID, content []byte) spool.Writer {
	s.Helper()
	w, err := s.Create(s.Context(), id)
	s.ok(err)
	_, err = w.Write(content)
	s.ok(err)
	return w
}

// commit stores a message with deliveries.
func (s *suite) commit(ds ...spool.Delivery) spool.ID {
	s.Helper()
	id := s.id()
	s.ok(s.write(id, []byte("content")).Commit(s.Context(), spool.Commit{Deliveries: ds}))
	return id
}

func (s *suite) lease(r spool.LeaseRequest) spool.Leased {
	s.Helper()
	if r.Max == 0 {
		r.Max = 100
	}
	if r.TTL == 0 {
		r.TTL = time.Minute
	}
	l, err := s.Lease(s.Context(), r)
	s.ok(err)
	s.checkLeased(&r, l.Leases)
	return l
}

// checkLeased sees what is true of all that Lease hands out.
func (s *suite) checkLeased(r *spool.LeaseRequest, list []spool.Lease) {
	s.Helper()
	if len(list) > r.Max {
		s.Fatalf("leased %d deliveries, want %d at most", len(list), r.Max)
	}
	perKey := make(map[spool.Key]int)
	for i, l := range list {
		if i > 0 && l.Delivery.Due.Before(list[i-1].Delivery.Due) {
			s.Fatalf("%v is behind %v, and due before it", l.Delivery.ID, list[i-1].Delivery.ID)
		}
		k := l.Delivery.Key
		if among(r.Busy, k) || len(r.Only) > 0 && !among(r.Only, k) ||
			slices.Contains(r.NotRoutes, k.Route) || slices.Contains(r.NotStreams, k.Stream) {
			s.Fatalf("leased %+v, which was not wanted", k)
		}
		if perKey[k]++; r.MaxPerKey > 0 && perKey[k] > r.MaxPerKey {
			s.Fatalf("leased more than %d of %+v", r.MaxPerKey, k)
		}
		if l.Token == 0 || l.Delivery.Held {
			s.Fatalf("leased %+v", l)
		}
	}
}

// among reports whether a key is one of those of a request.
func among(list []spool.Key, k spool.Key) bool {
	any := spool.Key{Route: k.Route, Domain: k.Domain}
	return slices.Contains(list, k) || slices.Contains(list, any)
}

// leaseUntil leases until the answer is as it is to be, for as long as the
// store may lag: what was leased with another answer goes back.
func (s *suite) leaseUntil(r spool.LeaseRequest, good func(spool.Leased) bool) spool.Leased {
	s.Helper()
	for begun := time.Now(); ; {
		l := s.lease(r)
		if good(l) || s.late(begun) {
			return l
		}
		var back []spool.Held
		for _, l := range l.Leases {
			back = append(back, held(l))
		}
		s.ok(s.Store.Return(s.Context(), 0, back))
	}
}

// leaseN leases what must be n deliveries.
func (s *suite) leaseN(r spool.LeaseRequest, n int) []spool.Lease {
	s.Helper()
	l := s.leaseUntil(r, func(l spool.Leased) bool { return len(l.Leases) == n })
	if len(l.Leases) != n {
		s.Fatalf("leased %d deliveries, want %d", len(l.Leases), n)
	}
	return l.Leases
}

// one leases what must be a single delivery.
func (s *suite) one() spool.Lease {
	s.Helper()
	return s.leaseN(spool.LeaseRequest{}, 1)[0]
}

// none sees that there is nothing to lease, of some keys or at all.
func (s *suite) none(only ...spool.Key) {
	s.Helper()
	s.wantRoutes(spool.LeaseRequest{Only: only})
}

func (s *suite) routes(l spool.Leased) []string {
	var names []string
	for _, l := range l.Leases {
		names = append(names, l.Delivery.Key.Route)
	}
	return names
}

// wantRoutes leases what must be these, in their order.
func (s *suite) wantRoutes(r spool.LeaseRequest, want ...string) spool.Leased {
	s.Helper()
	good := func(l spool.Leased) bool { return s.sameRoutes(s.routes(l), want) }
	for begun := time.Now(); ; time.Sleep(s.pause) {
		l := s.leaseUntil(r, good)
		if !good(l) {
			s.Fatalf("leased %q, want %q", s.routes(l), want)
		}
		if len(want) > 0 || time.Since(begun) >= s.quiet {
			return l
		}
	}
}

// sameRoutes compares what was leased. In a served store what was given back
// may stand behind others of its key; that each Lease is in order, is looked at
// elsewhere.
func (s *suite) sameRoutes(got, want []string) bool {
	if s.served {
		got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	}
	return slices.Equal(got, want)
}

// wantWait leases nothing, and is told how long that stays so.
func (s *suite) wantWait(r spool.LeaseRequest, want time.Duration) {
	s.Helper()
	ok := func(l spool.Leased) bool { return len(l.Leases) == 0 && s.isWait(l.Wait, want) }
	if l := s.leaseUntil(r, ok); !ok(l) {
		s.Fatalf("leased %q, and wait is %v, want %v", s.routes(l), l.Wait, want)
	}
}

// wantIdle asks for what is not there, where deliveries were leased and settled
// before. A store on a server may still expect the end of such a lease.
func (s *suite) wantIdle(r spool.LeaseRequest) {
	s.Helper()
	if !s.served {
		s.wantWait(r, -1)
		return
	}
	ok := func(l spool.Leased) bool {
		return len(l.Leases) == 0 && (l.Wait < 0 || l.Wait >= s.least)
	}
	if l := s.leaseUntil(r, ok); !ok(l) {
		s.Fatalf("leased %q, and wait is %v", s.routes(l), l.Wait)
	}
}

func (s *suite) read(id spool.ID) []byte {
	s.Helper()
	r, err := s.Open(s.Context(), id)
	s.ok(err)
	b, err := io.ReadAll(r)
	s.ok(err)
	s.ok(r.Close())
	return b
}

// inUse tries to use the id of a message again.
func (s *suite) inUse(id spool.ID) {
	s.Helper()
	w, err := s.Create(s.Context(), id)
	if s.served && err == nil { // Commit may be the one to tell
		err = w.Commit(s.Context(), spool.Commit{
			Deliveries: []spool.Delivery{s.delivery("twice", s.now)},
		})
	}
	s.is(err, spool.ErrExists)
}

func (s *suite) gone(id spool.ID) {
	s.Helper()
	_, err := s.Open(s.Context(), id)
	s.is(err, spool.ErrNotFound)
}

func (s *suite) finish(l spool.Lease) {
	s.Helper()
	s.ok(s.Settle(s.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
}

func (s *suite) wantStats(messages, deliveries, leased int64) {
	s.Helper()
	for begun := time.Now(); ; {
		st, err := s.Stats(s.Context())
		s.ok(err)
		if st.Messages == messages && st.Deliveries == deliveries && st.Leased == leased {
			return
		}
		if s.late(begun) {
			s.Fatalf(
				"stats are %+v, want %d messages, %d deliveries, %d leased", st, messages,
				deliveries, leased,
			)
		}
	}
}
