// Package spooltest is the conformance suite of package spool: every store
// passes it.
//
//	func TestStore(t *testing.T) {
//		spooltest.Run(t, func(t *testing.T) spool.Store { return mystore.New(…) })
//	}
//
// A store that outlives its process passes RunDurable as well, and one that
// notices damage RunDamage. All are worth running with the race detector.
package spooltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// Run tests a store. open returns an empty one; it is closed when its test
// ends.
func Run(t *testing.T, open func(t *testing.T) spool.Store) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"TwoPhase", (*suite).twoPhase},
		{"Abort", (*suite).abort},
		{"RoundTrip", (*suite).roundTrip},
		{"Exists", (*suite).exists},
		{"NoDelivery", (*suite).noDelivery},
		{"Content", (*suite).content},
		{"LeaseOrder", (*suite).leaseOrder},
		{"LeaseLimits", (*suite).leaseLimits},
		{"LeaseKeys", (*suite).leaseKeys},
		{"LeaseWait", (*suite).leaseWait},
		{"LeaseOnly", (*suite).leaseOnly},
		{"Return", (*suite).giveBack},
		{"Fencing", (*suite).fencing},
		{"Renew", (*suite).renew},
		{"SettleRemaining", (*suite).settleRemaining},
		{"SettleKey", (*suite).settleKey},
		{"SettleLast", (*suite).settleLast},
		{"CommitSettle", (*suite).commitSettle},
		{"CommitSettleLost", (*suite).commitSettleLost},
		{"OpenWhileSettled", (*suite).openWhileSettled},
		{"Stats", (*suite).stats},
		{"Closed", (*suite).closed},
		{"Canceled", (*suite).canceled},
		{"Concurrent", (*suite).concurrent},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t)
				t.Cleanup(func() { s.Close() })
				c.test(&suite{T: t, Store: s, now: time.Now()})
			})
		})
	}
}

// RunDurable tests that a store keeps what it has when it is closed and opened
// again. open is called for each test; what it returns opens the same place
// each time.
func RunDurable(t *testing.T, open func(t *testing.T) func() spool.Store) {
	for _, c := range []struct {
		name string
		test func(s *suite, reopen func())
	}{
		{"Messages", (*suite).keepsMessages},
		{"Settlements", (*suite).keepsSettlements},
		{"Leases", (*suite).endsLeases},
		{"Random", (*suite).keepsRandom},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opener := open(t)
				s := &suite{T: t, Store: opener(), now: time.Now()}
				t.Cleanup(func() { s.Store.Close() })
				c.test(s, func() {
					t.Helper()
					s.ok(s.Store.Close())
					s.Store = opener()
				})
			})
		})
	}
}

type suite struct {
	*testing.T
	spool.Store
	now time.Time
	ids int
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

func (s *suite) twoPhase() {
	id := s.id()
	w := s.write(id, []byte("hello"))
	s.gone(id)
	s.none()
	s.wantStats(0, 0, 0)
	s.ok(w.Commit(s.Context(), spool.Commit{Deliveries: []spool.Delivery{s.delivery("a", s.now)}}))
	if got := s.read(id); string(got) != "hello" {
		s.Fatalf("content is %q", got)
	}
	s.ok(w.Abort())
	if l := s.one(); l.Message.ID != id || l.Delivery.ID != (spool.DeliveryID{Message: id}) {
		s.Fatalf("leased %v of %v, want %v", l.Delivery.ID, l.Message.ID, id)
	}
	if err := w.Commit(
		s.Context(), spool.Commit{Deliveries: []spool.Delivery{s.delivery("a", s.now)}},
	); err == nil {
		s.Fatal("a second commit of one writer was accepted")
	}
	if _, err := w.Write([]byte("more")); err == nil {
		s.Fatal("a write after the commit was accepted")
	}
}

func (s *suite) abort() {
	for _, n := range []int{0, 10, 1 << 20} {
		id := s.id()
		w := s.write(id, make([]byte, n))
		s.ok(w.Abort())
		s.ok(w.Abort())
		s.gone(id)
		if err := w.Commit(
			s.Context(), spool.Commit{Deliveries: []spool.Delivery{s.delivery("a", s.now)}},
		); err == nil {
			s.Fatal("a commit after Abort was accepted")
		}
		s.none()
		// The id is free again.
		s.ok(s.write(id, nil).Abort())
	}
	s.wantStats(0, 0, 0)
}

func (s *suite) roundTrip() {
	m := spool.Message{
		Created: s.now, From: "sender@example.com", EnvelopeID: "env+1", Return: "HDRS",
		Body: "8BITMIME", UTF8: true,
		Signatures: 2,
		Origin:     spool.Origin{Connector: "apps", Remote: "192.0.2.1:4711", User: "alice"},
		Labels:     map[string]string{"tenant": "blue", "": "empty"},
		Stream:     "news", ReportOf: s.id(),
	}
	ds := []spool.Delivery{
		{
			Key: spool.Key{Route: "one", Domain: "example.org", Stream: "news"}, Due: s.now,
			Expires: s.now.Add(time.Hour), Attempts: 3,
			Recipients: []spool.Recipient{
				{
					Address: "a@example.org", Notify: spool.NotifySuccess | spool.NotifyDelay,
					Delayed: true, Original: "rfc822;b@example.org",
				},
				{
					Address: "ü@example.org", Status: "4.4.1", Diagnostic: "450 later",
					Host: "mx.example.org",
				},
			},
		},
		{
			Key: spool.Key{Route: "two"}, Due: s.now.Add(time.Nanosecond),
			Recipients: []spool.Recipient{{Address: "c@example.net"}},
		},
	}
	id := s.id()
	given := slices.Clone(ds)
	labels := map[string]string{"tenant": "blue", "": "empty"}
	c := spool.Commit{Message: m, Deliveries: given, Prepend: []byte("Received: by us\r\n")}
	c.Message.Labels = labels
	s.ok(s.write(id, []byte("Subject: x\r\n\r\nhi\r\n")).Commit(s.Context(), c))
	// The store has kept nothing of what it was given.
	given[0].Key.Route, labels["tenant"] = "changed", "red"
	clear(c.Prepend)

	m.ID, m.Size = id, 17+18
	s.sleep(time.Second)
	l := s.lease(spool.LeaseRequest{})
	if len(l.Leases) != 2 {
		s.Fatalf("leased %d deliveries, want 2", len(l.Leases))
	}
	for i, l := range l.Leases {
		ds[i].ID = spool.DeliveryID{Message: id, Seq: i}
		if got, want := show(l.Message, l.Delivery), show(m, ds[i]); got != want {
			s.Fatalf("leased\n%s\nwant\n%s", got, want)
		}
		if l.Token == 0 {
			s.Fatal("a lease has no token")
		}
		// What is handed out is the caller's own.
		l.Message.Labels["tenant"] = "green"
		l.Delivery.Recipients[0].Address = "changed"
	}
	if got := string(s.read(id)); got != "Received: by us\r\nSubject: x\r\n\r\nhi\r\n" {
		s.Fatalf("content is %q", got)
	}
	s.sleep(time.Hour)
	again := s.lease(spool.LeaseRequest{})
	if len(again.Leases) != 2 {
		s.Fatalf("leased %d deliveries again, want 2", len(again.Leases))
	}
	if got, want := show(
		again.Leases[0].Message, again.Leases[0].Delivery,
	), show(m, ds[0]); got != want {
		s.Fatalf("leased again\n%s\nwant\n%s", got, want)
	}
}

// show prints what a store must give back; times as instants.
func show(m spool.Message, d spool.Delivery) string {
	at := func(t time.Time) string { return t.UTC().Round(0).Format(time.RFC3339Nano) }
	return fmt.Sprintf("%v %s %q %q %q %q %v %d %d %+v %v %q %v\n%v %q %+v due %s expires %s "+
		"attempts %d",
		m.ID, at(m.Created), m.From, m.EnvelopeID, m.Return, m.Body, m.UTF8, m.Signatures,
		m.Size, m.Origin, m.Labels, m.Stream, m.ReportOf,
		d.ID, d.Key, d.Recipients, at(d.Due), at(d.Expires), d.Attempts)
}

func (s *suite) exists() {
	c := spool.Commit{Deliveries: []spool.Delivery{s.delivery("a", s.now)}}
	parent := s.commit(s.delivery("a", s.now.Add(time.Hour)))
	id := spool.DeriveID(parent, "bounce")
	first, second := s.write(id, []byte("first")), s.write(id, []byte("second"))
	s.ok(first.Commit(s.Context(), c))
	s.is(second.Commit(s.Context(), c), spool.ErrExists)
	_, err := s.Create(s.Context(), id)
	s.is(err, spool.ErrExists)
	if got := s.read(id); string(got) != "first" {
		s.Fatalf("content is %q", got)
	}
	s.wantStats(2, 2, 0)

	// One of many wins.
	id = spool.DeriveID(parent, "race")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	writers := make([]spool.Writer, len(errs))
	for i := range writers {
		writers[i] = s.write(id, []byte{byte(i)})
	}
	for i, w := range writers {
		wg.Go(func() { errs[i] = w.Commit(s.Context(), c) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			s.is(err, spool.ErrExists)
		}
	}
	if won != 1 {
		s.Fatalf("%d commits of one id were accepted", won)
	}
}

func (s *suite) noDelivery() {
	id := s.id()
	s.is(s.write(id, nil).Commit(s.Context(), spool.Commit{}), spool.ErrNoDelivery)
	s.gone(id)
	s.wantStats(0, 0, 0)
}

func (s *suite) content() {
	random := rand.NewChaCha8([32]byte{1})
	for _, n := range []int{
		0, 1, 1000, 64 << 10, 128<<10 - 1, 128 << 10, 128<<10 + 1, 300_000, 3 << 20,
	} {
		for _, prepend := range []int{0, 200} {
			want := make([]byte, prepend+n)
			random.Read(want)
			id := s.id()
			w, err := s.Create(s.Context(), id)
			s.ok(err)
			for rest := want[prepend:]; len(rest) > 0; {
				k := min(len(rest), 1+int(random.Uint64()%50_000))
				got, err := w.Write(rest[:k])
				s.ok(err)
				if got != k {
					s.Fatalf("wrote %d bytes, want %d", got, k)
				}
				rest = rest[k:]
			}
			s.ok(w.Commit(s.Context(), spool.Commit{
				Prepend:    slices.Clone(want[:prepend]),
				Deliveries: []spool.Delivery{s.delivery("a", s.now)},
			}))
			if !bytes.Equal(s.read(id), want) {
				s.Fatalf("%d bytes behind %d did not come back as written", n, prepend)
			}
			r, err := s.Open(s.Context(), id)
			s.ok(err)
			var got bytes.Buffer
			_, err = io.Copy(&got, r)
			s.ok(err)
			if !bytes.Equal(got.Bytes(), want) {
				s.Fatalf("%d bytes behind %d did not come back as written", n, prepend)
			}
			s.ok(r.Close())
			l := s.one()
			if l.Message.Size != int64(len(want)) {
				s.Fatalf("size is %d, want %d", l.Message.Size, len(want))
			}
			s.finish(l)
			s.gone(id)
		}
	}
}

func (s *suite) leaseOrder() {
	for _, after := range []int{5, 1, 4, 0, 3, 2} {
		s.commit(s.delivery(fmt.Sprint("r", after), s.now.Add(time.Duration(after+1)*time.Second)))
	}
	s.none()
	s.sleep(4 * time.Second)
	s.wantRoutes(s.lease(spool.LeaseRequest{Max: 2}), "r0", "r1")
	s.wantRoutes(s.lease(spool.LeaseRequest{}), "r2", "r3")
	// A lease that has ended does not lose its place in the order.
	s.sleep(time.Hour)
	s.wantRoutes(s.lease(spool.LeaseRequest{Max: 5}), "r0", "r1", "r2", "r3", "r4")
	s.wantRoutes(s.lease(spool.LeaseRequest{}), "r5")
}

func (s *suite) leaseLimits() {
	for i := range 4 {
		s.commit(
			s.delivery("a", s.now.Add(time.Duration(i))),
			s.delivery("b", s.now.Add(time.Duration(i))),
		)
	}
	s.commit(s.delivery("c", s.now.Add(time.Second)))
	s.sleep(time.Minute)
	s.wantRoutes(s.lease(spool.LeaseRequest{Busy: keys("a", "c", "unknown"), Max: 1}), "b")
	s.wantRoutes(s.lease(spool.LeaseRequest{MaxPerKey: 1}), "a", "b", "c")
	s.wantRoutes(s.lease(spool.LeaseRequest{MaxPerKey: 2, Busy: keys("b")}), "a", "a")
	s.wantRoutes(s.lease(spool.LeaseRequest{}), "b", "a", "b")
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
		s.now = time.Now()
		for i, k := range all {
			d := s.delivery("", s.now.Add(time.Duration(i-9)*time.Millisecond))
			d.Key = k
			s.commit(d, d)
		}
	}
	want := func(r spool.LeaseRequest, want ...int) {
		s.Helper()
		var got []int
		for _, l := range s.lease(r).Leases {
			got = append(got, slices.Index(all, l.Delivery.Key))
			s.finish(l)
		}
		if !slices.Equal(got, want) {
			s.Fatalf("leased %v, want %v", got, want)
		}
	}
	put()
	want(spool.LeaseRequest{Only: []spool.Key{{Route: "mx/out"}}}, 4, 4)
	want(spool.LeaseRequest{Busy: []spool.Key{all[1], {Route: "mx/other"}}, MaxPerKey: 1}, 2, 3)
	want(spool.LeaseRequest{Only: []spool.Key{all[1]}, MaxPerKey: 1}, 0, 1)
	want(spool.LeaseRequest{Only: []spool.Key{all[1]}, Busy: all[:1]}, 1)
	want(spool.LeaseRequest{}, 0, 2, 3)
}

func (s *suite) leaseWait() {
	wantWait := func(l spool.Leased, want time.Duration) {
		s.Helper()
		if l.Wait != want {
			s.Fatalf("wait is %v, want %v", l.Wait, want)
		}
	}
	wantWait(s.lease(spool.LeaseRequest{}), -1)
	s.commit(s.delivery("a", s.now.Add(time.Minute)))
	s.commit(s.delivery("b", s.now.Add(time.Hour)))
	wantWait(s.lease(spool.LeaseRequest{}), time.Minute)
	wantWait(s.lease(spool.LeaseRequest{Busy: keys("a")}), time.Hour)
	wantWait(s.lease(spool.LeaseRequest{Busy: keys("a", "b")}), -1)
	s.commit(s.delivery("c", s.now))
	s.commit(s.delivery("c", s.now))
	for _, r := range []spool.LeaseRequest{{Max: 1}, {MaxPerKey: 1, TTL: 1}} {
		if l := s.lease(r); len(l.Leases) != 1 {
			s.Fatalf("leased %d, want 1", len(l.Leases))
		}
		s.sleep(time.Second)
	}
	s.commit(s.delivery("c", s.now))
	if l := s.lease(spool.LeaseRequest{Max: 1}); l.Wait != 0 {
		s.Fatalf("wait is %v with more due", l.Wait)
	}
}

func (s *suite) fencing() {
	s.commit(s.delivery("a", s.now))
	old := s.one()
	s.none()
	s.sleep(time.Minute - 1)
	s.none()
	s.sleep(1)
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
	s.commit(s.delivery("b", s.now.Add(1)))
	s.commit(s.delivery("c", s.now.Add(2)))
	s.sleep(time.Second)
	l := s.lease(spool.LeaseRequest{}).Leases
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
	s.wantRoutes(s.lease(spool.LeaseRequest{}), "b")
	s.sleep(time.Hour)
	s.wantRoutes(s.lease(spool.LeaseRequest{}), "a", "b", "c")
}

// leaseOnly asks for some routes alone.
func (s *suite) leaseOnly() {
	for i := range 3 {
		for _, route := range []string{"a", "b", "c"} {
			s.commit(s.delivery(route, s.now.Add(time.Duration(i)*time.Second)))
		}
	}
	only := spool.LeaseRequest{Only: keys("c", "unknown", "b", "c")}
	l := s.lease(only)
	s.wantRoutes(l, "b", "c")
	if l.Wait != time.Second {
		s.Fatalf("wait is %v, want a second", l.Wait)
	}
	s.sleep(30 * time.Second)
	only.MaxPerKey = 1
	s.wantRoutes(s.lease(only), "b", "c")
	only.MaxPerKey, only.Max = 0, 1
	s.wantRoutes(s.lease(only), "b")
	only.Max, only.Busy = 0, keys("b")
	s.wantRoutes(s.lease(only), "c")
	s.wantRoutes(s.lease(spool.LeaseRequest{}), "a", "a", "a")
	s.none()
}

// giveBack returns deliveries without an attempt.
func (s *suite) giveBack() {
	s.commit(s.delivery("a", s.now))
	s.commit(s.delivery("b", s.now.Add(1)))
	s.sleep(time.Second)
	l := s.lease(spool.LeaseRequest{}).Leases
	due := l[0].Delivery.Due
	wrong := held(l[1])
	wrong.Token ^= 1
	s.ok(s.Store.Return(s.Context(), time.Second, []spool.Held{wrong, held(l[0])}))
	s.wantStats(2, 2, 1)
	got := s.lease(spool.LeaseRequest{})
	s.wantRoutes(got)
	if got.Wait != time.Second {
		s.Fatalf("wait is %v, want a second", got.Wait)
	}
	s.lost(held(l[0]))
	s.sleep(time.Second)
	again := s.lease(spool.LeaseRequest{})
	s.wantRoutes(again, "a")
	if d := again.Leases[0].Delivery; d.Attempts != 0 || !d.Due.Equal(due) {
		s.Fatalf("leased %+v, want it unchanged", d)
	}
	s.is(s.Settle(s.Context(), spool.Settlement{
		ID: l[0].Delivery.ID, Token: l[0].Token,
	}), spool.ErrLeaseLost)
	// At once.
	s.ok(s.Store.Return(s.Context(), 0, []spool.Held{held(again.Leases[0])}))
	s.wantRoutes(s.lease(spool.LeaseRequest{}), "a")
	s.finish(l[1])
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
		if wait := s.lease(spool.LeaseRequest{}).Wait; wait != time.Hour {
			s.Fatalf("wait is %v, want an hour", wait)
		}
		s.sleep(time.Hour)
	}
	s.finish(s.one())
	s.wantStats(0, 0, 0)
}

// settleKey moves a delivery.
func (s *suite) settleKey() {
	s.commit(s.delivery("a", s.now), s.delivery("c", s.now.Add(time.Second)))
	l := s.one()
	again := spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Remaining: l.Delivery.Recipients, Wait: -time.Second,
		Attempts: 1, Key: &spool.Key{Route: "b"},
	}
	s.ok(s.Settle(s.Context(), again))
	s.wantRoutes(s.lease(spool.LeaseRequest{Busy: keys("b")}))
	s.wantRoutes(s.lease(spool.LeaseRequest{Busy: keys("a"), TTL: time.Second}), "b")
	// The move lasts.
	s.sleep(time.Second)
	l = s.lease(spool.LeaseRequest{Max: 1}).Leases[0]
	again.Token, again.Key, again.Attempts = l.Token, nil, 2
	s.ok(s.Settle(s.Context(), again))
	s.wantRoutes(s.lease(spool.LeaseRequest{}), "b", "c")
}

func (s *suite) settleLast() {
	id := s.commit(s.delivery("a", s.now), s.delivery("b", s.now), s.delivery("c", s.now))
	ls := s.lease(spool.LeaseRequest{}).Leases
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
	ls := s.lease(spool.LeaseRequest{}).Leases
	if len(ls) != 2 {
		s.Fatalf("leased %d, want 2", len(ls))
	}
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
	l := s.lease(spool.LeaseRequest{})
	s.wantRoutes(l, "moved", "back")
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
	ls := s.lease(spool.LeaseRequest{}).Leases
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

func (s *suite) openWhileSettled() {
	for _, n := range []int{100, 1 << 20} {
		id := s.id()
		want := bytes.Repeat([]byte{'x'}, n)
		s.ok(
			s.write(id, want).Commit(
				s.Context(), spool.Commit{Deliveries: []spool.Delivery{s.delivery("a", s.now)}},
			),
		)
		r, err := s.Open(s.Context(), id)
		s.ok(err)
		s.finish(s.one())
		got, err := io.ReadAll(r)
		s.ok(err)
		s.ok(r.Close())
		if !bytes.Equal(got, want) {
			s.Fatal("content that was open changed when the message ended")
		}
	}
}

func (s *suite) stats() {
	for range 3 {
		s.commit(s.delivery("a", s.now), s.delivery("b", s.now.Add(time.Hour)))
	}
	s.lease(spool.LeaseRequest{Max: 2})
	s.wantStats(3, 6, 2)
	st, err := s.Stats(s.Context())
	s.ok(err)
	if want := int64(3 * len("content")); st.Bytes != 0 && st.Bytes != want {
		s.Fatalf("%d bytes, want %d", st.Bytes, want)
	}
}

func (s *suite) closed() {
	id := s.commit(s.delivery("a", s.now))
	l := s.one()
	w := s.write(s.id(), []byte("late"))
	s.ok(s.Close())
	ctx := s.Context()
	s.is(
		w.Commit(ctx, spool.Commit{Deliveries: []spool.Delivery{s.delivery("a", s.now)}}),
		spool.ErrClosed,
	)
	_, err := s.Create(ctx, s.id())
	s.is(err, spool.ErrClosed)
	_, err = s.Open(ctx, id)
	s.is(err, spool.ErrClosed)
	_, err = s.Lease(ctx, spool.LeaseRequest{Max: 1})
	s.is(err, spool.ErrClosed)
	_, err = s.Renew(ctx, time.Minute, []spool.Held{held(l)})
	s.is(err, spool.ErrClosed)
	s.is(s.Store.Return(ctx, 0, []spool.Held{held(l)}), spool.ErrClosed)
	s.is(s.Settle(ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token}), spool.ErrClosed)
	_, err = s.Stats(ctx)
	s.is(err, spool.ErrClosed)
	s.ok(s.Close())
}

func (s *suite) canceled() {
	id := s.commit(s.delivery("a", s.now))
	l := s.one()
	w := s.write(s.id(), []byte("late"))
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	s.is(
		w.Commit(ctx, spool.Commit{Deliveries: []spool.Delivery{s.delivery("a", s.now)}}),
		context.Canceled,
	)
	_, err := s.Create(ctx, s.id())
	s.is(err, context.Canceled)
	_, err = s.Open(ctx, id)
	s.is(err, context.Canceled)
	_, err = s.Lease(ctx, spool.LeaseRequest{Max: 1})
	s.is(err, context.Canceled)
	_, err = s.Renew(ctx, time.Minute, []spool.Held{held(l)})
	s.is(err, context.Canceled)
	s.is(s.Store.Return(ctx, 0, []spool.Held{held(l)}), context.Canceled)
	s.is(s.Settle(ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token}), context.Canceled)
	s.wantStats(1, 1, 1)
}

// concurrent has messages come in and go out at once, and counts each
// recipient.
func (s *suite) concurrent() {
	const sessions, each, workers = 8, 40, 4
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	done := make(map[spool.ID]int)
	left := sessions * each
	served := make(chan struct{})
	var wg sync.WaitGroup
	for n := range sessions {
		wg.Go(func() {
			for i := range each {
				id := spool.NewID(s.now)
				w, err := s.Create(ctx, id)
				if err == nil {
					_, err = w.Write(fmt.Appendf(nil, "%s", id))
				}
				if err == nil {
					err = w.Commit(
						ctx,
						spool.Commit{
							Deliveries: []spool.Delivery{
								s.delivery(fmt.Sprint("r", (n+i)%5), s.now),
							},
						},
					)
				}
				if err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	for range workers {
		wg.Go(func() {
			for {
				select {
				case <-served:
					return
				default:
				}
				l, err := s.Lease(
					ctx, spool.LeaseRequest{Max: 7, TTL: time.Hour, MaxPerKey: 3},
				)
				if err != nil {
					s.Error(err)
					return
				}
				for _, l := range l.Leases {
					r, err := s.Open(ctx, l.Message.ID)
					if err != nil {
						s.Error(err)
						return
					}
					b, err := io.ReadAll(r)
					r.Close()
					if err != nil || string(b) != l.Message.ID.String() {
						s.Errorf("content of %v is %q, %v", l.Message.ID, b, err)
					}
					t := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
					again := l.Delivery.Attempts == 0 && l.Message.ID[15]%2 == 0
					if again {
						t.Remaining, t.Due, t.Attempts = l.Delivery.Recipients, s.now, 1
					}
					if err := s.Settle(ctx, t); err != nil {
						s.Error(err)
						return
					}
					if again {
						continue
					}
					mu.Lock()
					if done[l.Message.ID]++; done[l.Message.ID] > 1 {
						s.Errorf("%v was served twice", l.Message.ID)
					}
					if left--; left == 0 {
						close(served)
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if !s.Failed() {
		s.wantStats(0, 0, 0)
	}
}

func (s *suite) keepsMessages(reopen func()) {
	want := map[spool.ID][]byte{}
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
		reopen()
		s.wantStats(5, 10, 0)
		for id, content := range want {
			if !bytes.Equal(s.read(id), content) {
				s.Fatalf("%v did not come back as written", id)
			}
			_, err := s.Create(s.Context(), id)
			s.is(err, spool.ErrExists)
		}
		l := s.lease(spool.LeaseRequest{})
		s.wantRoutes(l, "a", "a", "a", "a", "a")
		if m := l.Leases[0].Message; m.From != "sender@example.com" || m.Labels["k"] != "v" ||
			!m.Created.Equal(s.now) {
			s.Fatalf("leased %+v", m)
		}
		if l.Wait > time.Hour {
			s.Fatalf("wait is %v", l.Wait)
		}
	}
}

func (s *suite) keepsSettlements(reopen func()) {
	a := s.commit(s.delivery("a", s.now), s.delivery("b", s.now.Add(1)))
	s.sleep(time.Second)
	ls := s.lease(spool.LeaseRequest{}).Leases
	s.finish(ls[0])
	s.ok(s.Settle(s.Context(), spool.Settlement{
		ID: ls[1].Delivery.ID, Token: ls[1].Token, Due: s.now, Attempts: 2,
		Key:       &spool.Key{Route: "c", Stream: "s"},
		Remaining: []spool.Recipient{{Address: "left@b", Status: "4.0.0"}},
	}))
	reopen()
	s.wantStats(1, 1, 0)
	l := s.one()
	if d := l.Delivery; d.ID.Seq != 1 || d.Key != (spool.Key{Route: "c", Stream: "s"}) ||
		d.Attempts != 2 ||
		d.Recipients[0].Address != "left@b" || !d.Due.Equal(s.now) {
		s.Fatalf("leased %+v", d)
	}
	b := spool.DeriveID(a, "bounce")
	s.ok(s.write(b, []byte("bounce")).Commit(s.Context(), spool.Commit{
		Deliveries: []spool.Delivery{s.delivery("back", s.now)},
		Settle:     []spool.Settlement{{ID: l.Delivery.ID, Token: l.Token}},
	}))
	reopen()
	s.wantStats(1, 1, 0)
	s.gone(a)
	l = s.one()
	if l.Message.ID != b {
		s.Fatalf("leased %v, want %v", l.Message.ID, b)
	}
	s.finish(l)
	reopen()
	s.wantStats(0, 0, 0)
	s.none()
}

func (s *suite) endsLeases(reopen func()) {
	s.commit(s.delivery("a", s.now))
	old := s.one()
	reopen()
	s.is(
		s.Settle(s.Context(), spool.Settlement{ID: old.Delivery.ID, Token: old.Token}),
		spool.ErrLeaseLost,
	)
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
func (s *suite) keepsRandom(reopen func()) {
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
			reopen()
		}
		check()
	}
	reopen()
	check()
	for _, l := range s.lease(spool.LeaseRequest{Max: 1 << 20}).Leases {
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
