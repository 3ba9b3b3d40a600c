package spooltest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

func contentCases() []testCase {
	return []testCase{
		{"TwoPhase", nil, (*suite).twoPhase},
		{"Abort", nil, (*suite).abort},
		{"RoundTrip", nil, (*suite).roundTrip},
		{"Exists", nil, (*suite).exists},
		{"NoDelivery", nil, (*suite).noDelivery},
		{"Content", nil, (*suite).content},
		{"OpenWhileSettled", nil, (*suite).openWhileSettled},
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
		Stream:     "news", ReportOf: s.id(), NotBefore: s.now.Add(time.Hour),
		Moves: 2,
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
			Key: spool.Key{Route: "two"}, Due: s.now.Add(s.least),
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
	for i, l := range s.leaseN(spool.LeaseRequest{}, 2) {
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
	again := s.leaseN(spool.LeaseRequest{}, 2)[0]
	if got, want := show(again.Message, again.Delivery), show(m, ds[0]); got != want {
		s.Fatalf("leased again\n%s\nwant\n%s", got, want)
	}
}

// show prints what a store must give back; times as instants.
func show(m spool.Message, d spool.Delivery) string {
	at := func(t time.Time) string { return t.UTC().Round(0).Format(time.RFC3339Nano) }
	return fmt.Sprintf("%v %s %q %q %q %q %v %d %d %+v %v %q %v %s %d\n"+
		"%v %q %+v due %s expires %s attempts %d",
		m.ID, at(m.Created), m.From, m.EnvelopeID, m.Return, m.Body, m.UTF8, m.Signatures,
		m.Size, m.Origin, m.Labels, m.Stream, m.ReportOf, at(m.NotBefore), m.Moves,
		d.ID, d.Key, d.Recipients, at(d.Due), at(d.Expires), d.Attempts)
}

func (s *suite) exists() {
	c := spool.Commit{Deliveries: []spool.Delivery{s.delivery("a", s.now)}}
	parent := s.commit(s.delivery("a", s.now.Add(time.Hour)))
	id := spool.DeriveID(parent, "bounce")
	first, second := s.write(id, []byte("first")), s.write(id, []byte("second"))
	s.ok(first.Commit(s.Context(), c))
	s.is(second.Commit(s.Context(), c), spool.ErrExists)
	s.inUse(id)
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
		if s.served && errors.Is(err, spool.ErrNotFound) { // it need not be kept for a reader
			got, err = want, nil
		}
		s.ok(err)
		s.ok(r.Close())
		if !bytes.Equal(got, want) {
			s.Fatal("content that was open changed when the message ended")
		}
	}
}
