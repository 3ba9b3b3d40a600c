package memspool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// accept commits a message with what is in c beside a delivery.
func accept(t testing.TB, s *memspool.Store, c spool.Commit) {
	t.Helper()
	c.Message.ID = spool.NewID(time.Now())
	c.Deliveries = []spool.Delivery{{Key: spool.Key{Route: "a"}}}
	if err := s.Commit(t.Context(), &spool.Prepared{Commit: c}); err != nil {
		t.Fatal(err)
	}
}

// The log is bounded: the oldest records go, and who has not read them learns
// of the gap.
func TestLogIsBounded(t *testing.T) {
	s := memspool.New(&memspool.Options{MaxLogBytes: 10 << 10})
	for i := range 1000 {
		accept(t, s, spool.Commit{Events: []spool.Record{{Data: fmt.Appendf(nil, "%0100d", i)}}})
	}
	_, err := s.Records(t.Context(), 0, 10)
	gap, ok := errors.AsType[*spool.GapError](err)
	if !ok || gap.Oldest < 900 || gap.Oldest > 950 {
		t.Fatalf("error is %v, want a gap up to about 937", err)
	}
	got, err := s.Records(t.Context(), gap.Oldest, 1000)
	if err != nil || len(got) != 1000-int(gap.Oldest) {
		t.Errorf("%d records are left, %v", len(got), err)
	}
}

// Of too many idempotency keys the oldest go, whatever their time.
func TestClaimsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memspool.New(&memspool.Options{MaxClaims: 10})
		claim := func(i int, ttl time.Duration) {
			accept(t, s, spool.Commit{Claim: &spool.Claim{Key: fmt.Sprint(i), TTL: ttl}})
		}
		in := func() (n int) {
			for i := range 100 {
				if _, _, ok, _ := s.Claimed(t.Context(), "", fmt.Sprint(i)); ok {
					n++
				}
			}
			return n
		}
		for i := range 30 {
			claim(i, time.Hour)
		}
		if _, _, ok, _ := s.Claimed(t.Context(), "", "20"); !ok || in() != 10 {
			t.Errorf("%d keys in use, want the newest ten", in())
		}
		time.Sleep(2 * time.Hour)
		claim(25, time.Hour) // free again
		if in() != 1 {
			t.Errorf("%d keys in use after their time, want one", in())
		}
	})
}

// Of too many shared values those that end first go.
func TestSharedIsBounded(t *testing.T) {
	s := memspool.New(&memspool.Options{MaxSharedBytes: 10_000})
	for i := range 100 {
		ttl := time.Duration(1+(i*37)%100) * time.Minute
		if err := s.Put(t.Context(), fmt.Sprint(i), make([]byte, 870), ttl); err != nil {
			t.Fatal(err)
		}
	}
	left := 0
	for i := range 100 {
		if _, err := s.Get(t.Context(), fmt.Sprint(i)); err == nil {
			left++
			if i != 99 && (i*37)%100 < 80 { // the newest stays
				t.Errorf("%d is left, and ends soon", i)
			}
		}
	}
	if left != 9 && left != 10 {
		t.Errorf("%d values left, want nine or ten", left)
	}
}

// A step of the wall clock makes deliveries due, and ends no lease.
func TestWallClockEndsNoLease(t *testing.T) {
	var by time.Duration
	s := memspool.New(&memspool.Options{Now: func() time.Time { return time.Now().Add(by) }})
	accept(t, s, spool.Commit{})
	lease := func() int {
		l, err := s.Lease(context.Background(), spool.LeaseRequest{Max: 1, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return len(l.Leases)
	}
	if lease() != 1 {
		t.Fatal("nothing leased")
	}
	if by = 48 * time.Hour; lease() != 0 {
		t.Error("a step of the wall clock has ended a lease")
	}
}

// Nobody joins a store that knows too many members, until one ends.
func TestMembersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memspool.New(nil)
		beat := func(group, member string) error {
			_, _, err := s.Beat(t.Context(), group, member, time.Minute)
			return err
		}
		for i := range 1000 {
			if err := beat(fmt.Sprint(i%100), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		if beat("0", "one more") == nil {
			t.Error("one too many has joined")
		}
		if err := beat("99", "99"); err != nil {
			t.Errorf("a member that is known: %v", err)
		}
		time.Sleep(time.Minute)
		if err := beat("0", "one more"); err != nil {
			t.Errorf("after the others have ended: %v", err)
		}
		if beat(strings.Repeat("g", 1000), strings.Repeat("m", 25)) == nil {
			t.Error("a name that is too long was taken")
		}
	})
}
