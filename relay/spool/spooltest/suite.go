package spooltest

import (
	"errors"
	"io"
	"slices"
	"testing"
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

type suite struct {
	*testing.T
	spool.Store
	now    time.Time
	ids    int
	reopen func()        // closes the store and opens it again
	margin time.Duration // how near to an end something is not over yet
}

func newSuite(t *testing.T, s spool.Store) *suite {
	return &suite{T: t, Store: s, now: time.Now(), margin: time.Nanosecond}
}

// sleep lets time pass.
func (s *suite) sleep(d time.Duration) {
	time.Sleep(d)
	s.now = time.Now()
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
	return l
}

// one leases what must be a single delivery.
func (s *suite) one() spool.Lease {
	s.Helper()
	l := s.lease(spool.LeaseRequest{})
	if len(l.Leases) != 1 {
		s.Fatalf("leased %d deliveries, want 1", len(l.Leases))
	}
	return l.Leases[0]
}

func (s *suite) none() {
	s.Helper()
	if l := s.lease(spool.LeaseRequest{}); len(l.Leases) != 0 {
		s.Fatalf("leased %d deliveries, want none", len(l.Leases))
	}
}

func (s *suite) routes(l spool.Leased) []string {
	var names []string
	for _, l := range l.Leases {
		names = append(names, l.Delivery.Key.Route)
	}
	return names
}

func (s *suite) wantRoutes(l spool.Leased, want ...string) {
	s.Helper()
	if got := s.routes(l); !slices.Equal(got, want) {
		s.Fatalf("leased %q, want %q", got, want)
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
	st, err := s.Stats(s.Context())
	s.ok(err)
	if st.Messages != messages || st.Deliveries != deliveries || st.Leased != leased {
		s.Fatalf(
			"stats are %+v, want %d messages, %d deliveries, %d leased", st, messages, deliveries,
			leased,
		)
	}
}
