package pgspool_test

import (
	"errors"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// TestFarTimes keeps times that no nanoseconds can count as the nearest ones.
func TestFarTimes(t *testing.T) {
	s := open(t, server.Database(t))
	for _, year := range []int{1, 2300, 9999, 290_000, 1 << 20} {
		far := time.Date(year, 2, 1, 0, 0, 0, 0, time.UTC)
		w, err := s.Create(t.Context(), spool.NewID(time.Now()))
		if err == nil {
			err = w.Commit(t.Context(), spool.Commit{
				Message: spool.Message{Created: far, NotBefore: far},
				Deliveries: []spool.Delivery{{
					Key: spool.Key{Route: "a"}, Expires: far, Recipients: []spool.Recipient{{}},
				}},
			})
		}
		if err != nil {
			t.Fatal(year, err)
		}
		l := leaseOne(t, s, "a")
		for _, got := range []time.Time{l.Message.NotBefore, l.Delivery.Expires} {
			want := 1678
			if year > 2000 {
				want = 2262
			}
			if got.UTC().Year() != want {
				t.Errorf("the year %d has become %v", year, got)
			}
		}
		again := spool.Settlement{
			ID: l.Delivery.ID, Token: l.Token, Due: far, Remaining: l.Delivery.Recipients,
		}
		if err := s.Settle(t.Context(), again); err != nil {
			t.Error(year, err)
		}
		if year == 1 {
			l = leaseOne(t, s, "a")
			end := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
			if err := s.Settle(t.Context(), end); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestInfiniteTimes: the schema refuses times that no program can read.
func TestInfiniteTimes(t *testing.T) {
	url := server.Database(t)
	s := open(t, url)
	message(t, s, "a", "hello")
	pool := connect(t, url)
	for _, column := range []string{"at", "due", "expires"} {
		_, err := pool.Exec(t.Context(), "UPDATE postern.delivery SET "+column+" = 'infinity'")
		if err == nil {
			t.Errorf("%s is infinite", column)
		}
	}
}

// TestTakenBeforeItsTime: a delivery that was taken before it was due, by one
// who gave it back or let it go, waits for its time.
func TestTakenBeforeItsTime(t *testing.T) {
	url := server.Database(t)
	s := open(t, url)
	id := spool.NewID(time.Now())
	w, err := s.Create(t.Context(), id)
	if err == nil {
		err = w.Commit(t.Context(), spool.Commit{Deliveries: []spool.Delivery{{
			Key: spool.Key{Route: "a"}, Due: time.Now().Add(time.Hour),
			Recipients: []spool.Recipient{{Address: "a@example.com"}},
		}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, giveBack := range []bool{true, false} {
		l, err := s.Take(t.Context(), spool.DeliveryID{Message: id}, time.Minute)
		if err == nil && giveBack {
			held := []spool.Held{{ID: l.Delivery.ID, Token: l.Token}}
			err = s.Return(t.Context(), 0, held)
		}
		if err != nil {
			t.Fatal(err)
		}
		pgspooltest.ShiftClock(t, url, "postern", 2*time.Minute)
		got, err := open(t, url).Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
		if err != nil || len(got.Leases) != 0 {
			t.Errorf("given back %v: leased %+v %v", giveBack, got.Leases, err)
		}
	}
	pgspooltest.ShiftClock(t, url, "postern", 2*time.Hour)
	leaseOne(t, open(t, url), "a")
}

// TestCloseWithoutServer ends within a time while the server does not answer.
func TestCloseWithoutServer(t *testing.T) {
	url := server.Database(t)
	p := pgspooltest.NewProxy(t, server.Addr())
	pool := connect(t, p.URL(t, url))
	s, err := pgspool.Open(t.Context(), pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	message(t, s, "a", "hello")
	l := leaseOne(t, s, "a")
	p.Stall()
	settled := make(chan error, 1)
	go func() {
		settled <- s.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
	}()
	time.Sleep(50 * time.Millisecond) // until a committer has it
	begin := time.Now()
	s.Close()
	if d := time.Since(begin); d > 40*time.Second {
		t.Errorf("Close took %v", d)
	}
	if err := <-settled; err == nil || errors.Is(err, spool.ErrLeaseLost) {
		t.Errorf("the settlement was answered %v", err)
	}
}
