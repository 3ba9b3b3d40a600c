package spoolmove_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// store is what a Move needs of both sides.
type store interface {
	spool.Store
	spool.Manager
	spool.Keys
}

// put queues a message and returns its id.
func put(
	t testing.TB, s spool.Store, m spool.Message, content string, ds ...spool.Delivery,
) spool.ID {
	t.Helper()
	id := m.ID
	if id.IsZero() {
		id = spool.NewID(time.Now())
	}
	w, err := s.Create(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), spool.Commit{Message: m, Deliveries: ds}); err != nil {
		t.Fatal(err)
	}
	return id
}

func to(route string, rcpts ...string) spool.Delivery {
	now := time.Now().Truncate(time.Microsecond)
	d := spool.Delivery{
		Key: spool.Key{Route: route, Domain: "example.org", Stream: "orders"},
		Due: now, Expires: now.Add(120 * time.Hour),
	}
	for _, r := range rcpts {
		d.Recipients = append(d.Recipients, spool.Recipient{Address: r})
	}
	return d
}

// fill puts messages of every kind into a store.
func fill(t testing.TB, s store) {
	t.Helper()
	now := time.Now().Truncate(time.Microsecond)
	put(t, s, spool.Message{}, "", to("empty", "null@example.org"))
	put(t, s, spool.Message{
		Created: now.Add(-time.Hour), From: "anna@example.com", EnvelopeID: "QQ314159",
		Return: spool.ReturnFull, Body: spool.Body8BitMIME, UTF8: true, Signatures: 2,
		Origin: spool.Origin{Connector: "apps", Remote: "192.0.2.9:1234", User: "anna"},
		Stream: "orders", NotBefore: now.Add(time.Hour), ReportOf: spool.NewID(now),
		Labels: map[string]string{"order": "17", "ä": "\x00\xff"},
	}, "Subject: \xff\x00\r\n\r\n"+strings.Repeat("x\r\n", 100_000), to("far", "a@example.org"))
	d := to("held", "held@example.org", "b@example.org")
	d.Held, d.Attempts, d.Due = true, 4, now.Add(48*time.Hour)
	d.Crashes = 3
	d.Recipients[0] = spool.Recipient{
		Address: "held@example.org", Notify: spool.NotifySuccess | spool.NotifyDelay,
		Delayed: true, Original: "rfc822;x@example.org", Status: "4.2.2",
		Diagnostic: "452 4.2.2 full", Host: "mx.example.org [192.0.2.1]:25",
	}
	put(t, s, spool.Message{From: "b@example.com"}, "held", d, to("beside", "c@example.org"))
	left := put(t, s, spool.Message{From: "c@example.com"}, "partly",
		to("done", "done@example.org"), to("left", "left@example.org"))
	l, err := s.Take(t.Context(), spool.DeliveryID{Message: left}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(
		t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
	); err != nil {
		t.Fatal(err)
	}
}

// content reads a message.
func content(t testing.TB, s spool.Store, id spool.ID) string {
	t.Helper()
	r, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// queue tells all that a store holds, a line for each delivery. The numbers of
// deliveries are left out.
func queue(t testing.TB, s store) []string {
	t.Helper()
	var lines []string
	for q := (spool.Query{}); ; {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			slices.Sort(lines)
			return lines
		}
		for _, it := range page {
			q.After = it.Delivery.ID
			if it.State == spool.StateLeased {
				t.Errorf("%v is leased", it.Delivery.ID)
			}
			lines = append(lines, line(it, content(t, s, it.Message.ID)))
		}
	}
}

func line(it spool.Item, content string) string {
	m, d := it.Message, it.Delivery
	m.Created, m.NotBefore = m.Created.UTC(), m.NotBefore.UTC()
	m.Moves, d.ID.Seq, d.Due, d.Expires = 0, 0, d.Due.UTC(), d.Expires.UTC()
	labels := slices.Sorted(maps.Keys(m.Labels))
	return fmt.Sprintf("%v %q %+q %+q %q", m.ID, labels, fmt.Sprintf("%+v", m),
		fmt.Sprintf("%+v", d), content)
}

var errDead = errors.New("the process was killed")

// power ends with a call: that one and all later ones fail.
type power struct {
	mu    sync.Mutex
	calls int  // until then; negative is for ever
	late  bool // the last call does its work, and its answer is lost
	dead  bool
}

func (p *power) do(f func() error) error {
	p.mu.Lock()
	last := false
	if !p.dead {
		p.calls--
		last = p.calls == 0
	}
	if p.dead || last && !p.late {
		p.dead = true
		p.mu.Unlock()
		return errDead
	}
	p.dead = last
	p.mu.Unlock()
	err := f()
	if last {
		return errDead
	}
	return err
}

// doomed is a store in a process that is killed.
type doomed struct {
	store
	*power
}

func (d doomed) Create(ctx context.Context, id spool.ID) (w spool.Writer, err error) {
	err = d.do(func() (err error) { w, err = d.store.Create(ctx, id); return err })
	return doomedWriter{w, d.power}, err
}

func (d doomed) Open(ctx context.Context, id spool.ID) (r io.ReadCloser, err error) {
	err = d.do(func() (err error) { r, err = d.store.Open(ctx, id); return err })
	return r, err
}

func (d doomed) List(ctx context.Context, q spool.Query) (items []spool.Item, err error) {
	err = d.do(func() (err error) { items, err = d.store.List(ctx, q); return err })
	return items, err
}

func (d doomed) Take(
	ctx context.Context, id spool.DeliveryID, ttl time.Duration,
) (l spool.Lease, err error) {
	err = d.do(func() (err error) { l, err = d.store.Take(ctx, id, ttl); return err })
	return l, err
}

func (d doomed) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) (lost []spool.Held, err error) {
	err = d.do(func() (err error) { lost, err = d.store.Renew(ctx, ttl, held); return err })
	return lost, err
}

func (d doomed) Claimed(
	ctx context.Context, scope, key string,
) (id spool.ID, digest [32]byte, ok bool, err error) {
	err = d.do(func() (err error) {
		id, digest, ok, err = d.store.Claimed(ctx, scope, key)
		return err
	})
	return id, digest, ok, err
}

func (d doomed) Return(ctx context.Context, wait time.Duration, held []spool.Held) error {
	return d.do(func() error { return d.store.Return(ctx, wait, held) })
}

func (d doomed) Settle(ctx context.Context, s spool.Settlement) error {
	return d.do(func() error { return d.store.Settle(ctx, s) })
}

type doomedWriter struct {
	spool.Writer
	*power
}

func (w doomedWriter) Write(b []byte) (n int, err error) {
	err = w.do(func() (err error) { n, err = w.Writer.Write(bytes.Clone(b)); return err })
	return n, err
}

func (w doomedWriter) Commit(ctx context.Context, c spool.Commit) error {
	return w.do(func() error { return w.Writer.Commit(ctx, c) })
}
