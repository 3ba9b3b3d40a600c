package pgspool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// anything expects many of each key, for so long that nobody else gets them but
// by a return.
var anything = spool.Expected{Max: 1000, TTL: time.Hour, Others: 1000}

// leaseAll leases until it has n. What was leased by its commit goes back where
// a busy machine takes a second for the next step.
func leaseAll(t *testing.T, s *pgspool.Store, n int) (list []spool.Lease) {
	t.Helper()
	for end := time.Now().Add(lag); len(list) < n && time.Now().Before(end); {
		got, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1000, TTL: time.Hour})
		ok(t, err)
		if list = append(list, got.Leases...); len(got.Leases) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	if len(list) != n {
		t.Fatalf("leased %d of %d", len(list), n)
	}
	return list
}

// TestNobodyAsksForWhatWasExpected has it go to another node, whether or not
// anybody has ever leased here.
func TestNobodyAsksForWhatWasExpected(t *testing.T) {
	t.Parallel()
	url := server.Database(t)
	s, other := open(t, url), open(t, url)
	s.Expect(anything)
	id := message(t, s, "a", "hello")
	if l := leaseOne(t, other, "a"); l.Message.ID != id {
		t.Errorf("leased %v", l.Message.ID)
	}
}

// TestCloseGivesBackWhatWasExpected has another node lease it.
func TestCloseGivesBackWhatWasExpected(t *testing.T) {
	t.Parallel()
	url := server.Database(t)
	s, other := open(t, url), open(t, url)
	s.Expect(anything)
	var wg sync.WaitGroup
	committed := make(chan struct{}, 1)
	for range 20 { // some of them while it is being closed
		wg.Go(func() {
			for s.Commit(t.Context(), mail("a")) == nil {
				select {
				case committed <- struct{}{}:
				default:
				}
			}
		})
	}
	select {
	case <-committed:
	case <-time.After(lag):
		t.Error("nothing is committed")
	}
	time.Sleep(100 * time.Millisecond) // for more of them
	ok(t, s.Close())
	wg.Wait()
	st, err := other.Stats(t.Context())
	if ok(t, err); st.Leased != 0 || st.Deliveries == 0 {
		t.Errorf("%+v", st)
	}
	leaseOne(t, other, "a")
}

// mail is a message for a route.
func mail(route string) *spool.Prepared {
	return &spool.Prepared{
		Content: []byte("hello"),
		Commit: spool.Commit{
			Message: spool.Message{ID: spool.NewID(time.Now())},
			Deliveries: []spool.Delivery{{
				Key:        spool.Key{Route: route},
				Recipients: []spool.Recipient{{Address: "a@" + route}},
			}},
		},
	}
}

// TestExpectedAsInTheTable: what is handed over by its commit is what others
// read from the table.
func TestExpectedAsInTheTable(t *testing.T) {
	t.Parallel()
	s := open(t, server.Database(t))
	s.Expect(anything)
	now := time.Now()
	long := strings.Repeat("long ", 300_000)
	id := spool.NewID(now)
	w, err := s.Create(t.Context(), id)
	ok(t, err)
	_, err = io.WriteString(w, long)
	ok(t, err)
	rcpt := []spool.Recipient{{
		Address: "ü@example.com", Notify: spool.NotifyFailure, Original: "rfc822;x",
		Status: "4.1.0", Diagnostic: strings.Repeat("d", 700), Host: "mx",
	}}
	key := spool.Key{Route: "r", Domain: "example.com", Stream: "s"}
	ok(t, w.Commit(t.Context(), spool.Commit{
		Prepend: []byte("Received: x\r\n"),
		Message: spool.Message{
			Created: now, From: "f@example.com", UTF8: true, Stream: "s", Signatures: 2,
			NotBefore: now, Labels: map[string]string{"a": "b"},
		},
		Deliveries: []spool.Delivery{
			{Key: key, Recipients: rcpt},
			{Key: key, Recipients: rcpt, Due: now.Add(-time.Hour), Expires: now, Attempts: 3},
			{Key: key, Recipients: rcpt, Crashes: 1, Expires: now.AddDate(1000, 0, 0)},
			{Key: key, Recipients: rcpt, Due: now.Add(time.Hour)},
			{Key: key, Recipients: rcpt, Held: true},
		},
	}))
	leases := leaseAll(t, s, 3)
	_, items, err := s.Find(t.Context(), id)
	ok(t, err)
	for _, l := range leases {
		item := items[l.Delivery.ID.Seq]
		if item.State != spool.StateLeased || !reflect.DeepEqual(l.Message, item.Message) ||
			!reflect.DeepEqual(l.Delivery, item.Delivery) || l.Damaged != nil {
			t.Errorf("leased %+v, the table has %+v", l, item)
		}
		if _, err := s.Take(t.Context(), l.Delivery.ID, time.Minute); err != spool.ErrLeased {
			t.Errorf("Take: %v", err)
		}
		ok(t, s.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	}
	r, err := s.Open(t.Context(), id)
	ok(t, err)
	if b, err := io.ReadAll(r); string(b) != "Received: x\r\n"+long || err != nil {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestExpectedOfFailedCommits: nothing is handed over of what was not written,
// and no place stays taken.
func TestExpectedOfFailedCommits(t *testing.T) {
	t.Parallel()
	s := open(t, server.Database(t))
	old := mail("old")
	ok(t, s.Commit(t.Context(), old))
	const each = 12
	s.Expect(anything)
	var wg sync.WaitGroup
	for range each {
		wg.Go(func() { ok(t, s.Commit(t.Context(), mail("new"))) })
		wg.Go(func() { // it fails, and with it its group
			p := mail("again")
			p.Commit.Message.ID = old.Commit.Message.ID
			if err := s.Commit(t.Context(), p); !errors.Is(err, spool.ErrExists) {
				t.Error(err)
			}
		})
		wg.Go(func() { // it is left out
			p := mail("lost")
			p.Commit.Settle = []spool.Settlement{{ID: spool.DeliveryID{Message: spool.NewID(
				time.Now())}, Token: 1}}
			if err := s.Commit(t.Context(), p); !errors.Is(err, spool.ErrLeaseLost) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, l := range leaseAll(t, s, each+1) {
		if r := l.Delivery.Key.Route; r != "new" && r != "old" {
			t.Errorf("leased %+v", l)
		}
	}
	if waiting, booked := s.Handed(); waiting != 0 || booked != 0 {
		t.Errorf("%d wait, %d are booked", waiting, booked)
	}
}

// TestExpectedTakesTurns: what waits in the table of one stream does not hide
// what was leased of another by its commit.
func TestExpectedTakesTurns(t *testing.T) {
	t.Parallel()
	s := open(t, server.Database(t))
	commit := func(route, stream string) {
		p := mail(route)
		p.Commit.Deliveries[0].Key.Stream = stream
		ok(t, s.Commit(t.Context(), p))
	}
	for i := range 20 { // until it is asked for before it goes back, and the node is not late
		route := fmt.Sprint("r", i)
		for range 30 {
			commit(route, "bulk")
		}
		begin := time.Now()
		s.Expect(anything)
		commit(route, "one")
		waiting, _ := s.Handed()
		got, err := s.Lease(t.Context(), spool.LeaseRequest{
			Max: 10, TTL: time.Minute, Only: []spool.Key{{Route: route}},
		})
		ok(t, err)
		s.Expect(spool.Expected{})
		if waiting == 0 || time.Since(begin) > time.Second/2 || len(got.Leases) < 10 {
			continue
		}
		if got.Leases[9].Delivery.Key.Stream != "one" || got.Wait != 0 {
			t.Errorf("leased %+v", got)
		}
		return
	}
	t.Error("this machine is too busy")
}

// TestExpectedForLong: a lease is never shorter than asked for, however long
// its commit took, and what is late goes back.
func TestExpectedForLong(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{300 * time.Millisecond, 1500 * time.Millisecond} {
		t.Run(wait.String(), func(t *testing.T) {
			t.Parallel()
			url := server.Database(t)
			s, c := open(t, url), connect(t, url)
			message(t, s, "cause", "hello")
			cause := leaseOne(t, s, "cause")
			e := anything
			e.TTL = time.Minute
			s.Expect(e)
			tx, err := c.Begin(t.Context())
			ok(t, err)
			defer tx.Rollback(context.Background())
			_, err = tx.Exec(t.Context(), "SELECT FROM postern.delivery FOR UPDATE")
			ok(t, err)
			p, done := mail("a"), make(chan error, 1)
			p.Commit.Settle = []spool.Settlement{{ID: cause.Delivery.ID, Token: cause.Token}}
			go func() { done <- s.Commit(t.Context(), p) }()
			time.Sleep(wait)
			ok(t, tx.Rollback(t.Context()))
			ok(t, <-done)
			for range 1000 {
				var begin time.Time
				ok(t, c.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&begin))
				got, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: e.TTL})
				if ok(t, err); len(got.Leases) == 0 {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				var at time.Time
				ok(t, c.QueryRow(t.Context(), "SELECT at FROM postern.delivery").Scan(&at))
				if at.Before(begin.Add(e.TTL)) {
					t.Errorf("its lease ends after %v", at.Sub(begin))
				}
				return
			}
			t.Error("it is never handed out")
		})
	}
}

// TestExpectedWithUnknownOutcome has no answer come to a commit, nor to who
// asks what has become of it. What it has written is handed out soon after.
func TestExpectedWithUnknownOutcome(t *testing.T) {
	t.Parallel()
	url := server.Database(t)
	d := new(deaf)
	s, other := openOn(t, poolThrough(t, url, d, d.hear)), open(t, url)
	s.Expect(anything)
	d.Store(true)
	p := mail("a")
	if err := s.Commit(t.Context(), p); err == nil || errors.Is(err, spool.ErrExists) {
		t.Errorf("answered %v", err)
	}
	d.Store(false)
	if l := leaseOne(t, other, "a"); l.Message.ID != p.Commit.Message.ID {
		t.Errorf("leased %+v", l)
	}
}

// deaf does not hear of commits while it is true.
type deaf struct{ atomic.Bool }

type deafConn struct {
	net.Conn
	deaf *deaf
}

func (d *deaf) hear(c net.Conn) net.Conn { return deafConn{c, d} }

func (c deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.deaf.Load() && bytes.Contains(b[:n], []byte("COMMIT\x00")) {
		c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func (d *deaf) TraceQueryStart(
	ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData,
) context.Context {
	if !d.Load() || !strings.Contains(data.SQL, "pg_xact_status") {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

func (d *deaf) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// stopper keeps notifications from being sent.
type stopper struct {
	stopped chan struct{}
	on      chan struct{}
}

func (s *stopper) TraceQueryStart(
	ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData,
) context.Context {
	if strings.Contains(data.SQL, "pg_notify") {
		s.stopped <- struct{}{}
		<-s.on
	}
	return ctx
}

func (s *stopper) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestReturnDoesNotWaitForNotification: others are told of what is given back,
// and who gives it back does not wait for that.
func TestReturnDoesNotWaitForNotification(t *testing.T) {
	t.Parallel()
	url := server.Database(t)
	message(t, open(t, url), "a", "hello")
	c, err := pgxpool.ParseConfig(url)
	ok(t, err)
	st := &stopper{make(chan struct{}), make(chan struct{})}
	c.ConnConfig.Tracer = st
	pool, err := pgxpool.NewWithConfig(t.Context(), c)
	ok(t, err)
	t.Cleanup(pool.Close)
	s := openOn(t, pool)
	l := leaseOne(t, s, "a")
	ok(t, s.Return(t.Context(), 0, []spool.Held{{ID: l.Delivery.ID, Token: l.Token}}))
	<-st.stopped // it has returned before
	close(st.on)
}
