package filespool_test

import (
	"maps"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// TestSpace has much mail go through while some stays, and looks at what the
// log takes up.
func TestSpace(t *testing.T) {
	t.Parallel()
	disk := filespool.NewDisk(1)
	dir := t.TempDir()
	s := openDisk(t, dir, disk)
	now := time.Now()
	stays := model{}
	for i := range 3000 {
		id := spool.NewID(now)
		put(t, s, id, []byte(contents(id, length(id)%8)), deliveries("a", now))
		l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 3, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range l.Leases {
			settle := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
			if stay := i%50 == 0; stay || l.Delivery.Attempts > 0 {
				settle.Attempts = l.Delivery.Attempts + 1
				settle.Remaining, settle.Due = l.Delivery.Recipients, now.Add(time.Hour)
				stays[l.Delivery.ID] = settle.Attempts
			}
			if err := s.Settle(t.Context(), settle); err != nil {
				t.Fatal(err)
			}
		}
		if i%100 == 99 {
			// Those that stay have their next attempt.
			now = now.Add(time.Hour)
			s.Elapse(time.Until(now))
			s.Flush()
			if live, n := s.Live(); n > 8 {
				t.Fatalf("after %d messages the log has %d segments for %d bytes", i+1, n, live)
			}
		}
		if i%1000 == 999 {
			s.Flush()
			disk.Crash()
			s.Close()
			s = openDisk(t, dir, disk)
			s.Elapse(time.Until(now))
			l, err := s.Lease(
				t.Context(), spool.LeaseRequest{Max: 1000, TTL: time.Minute},
			)
			if err != nil {
				t.Fatal(err)
			}
			found := model{}
			for _, l := range l.Leases {
				found[l.Delivery.ID] = l.Delivery.Attempts
			}
			if !maps.Equal(found, stays) {
				t.Fatalf("found %d deliveries, want %d", len(found), len(stays))
			}
			s.Close()
			s = openDisk(t, dir, disk)
			s.Elapse(time.Until(now))
		}
	}
	s.Elapse(time.Until(now.Add(time.Hour)))
	l, err := s.Lease(
		t.Context(), spool.LeaseRequest{Max: 1000, TTL: time.Minute},
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range l.Leases {
		if err := s.Settle(
			t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
		); err != nil {
			t.Fatal(err)
		}
	}
	s.Flush()
	if live, n := s.Live(); live != 0 || n != 1 {
		t.Fatalf("an empty queue counts %d bytes in %d segments", live, n)
	}
	s.Close()
}

// leased leases what is due of some keys, of all if there are none.
func leased(t *testing.T, s *filespool.Store, max int, only ...spool.Key) []spool.Lease {
	t.Helper()
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: max, TTL: time.Minute, Only: only})
	if err != nil {
		t.Fatal(err)
	}
	return l.Leases
}

func finish(t *testing.T, s *filespool.Store, l spool.Lease) {
	t.Helper()
	err := s.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
	if err != nil {
		t.Error(err)
	}
}

// waste keeps the cleaner away until there is much for it to do.
func waste(t *testing.T, s *filespool.Store, now time.Time) {
	t.Helper()
	s.HoldCleaner(true)
	for range 16 {
		put(t, s, spool.NewID(now), make([]byte, 8000), deliveries("waste", now))
		for _, l := range leased(t, s, 1, spool.Key{Route: "waste"}) {
			finish(t, s, l)
		}
	}
}

// TestCleanWhileCommitSettles has the cleaner reach a message while a commit
// that settles all or a part of it, as a report does, is being written.
func TestCleanWhileCommitSettles(t *testing.T) {
	t.Parallel()
	for _, last := range []bool{true, false} {
		disk, dir, now := filespool.NewDisk(1), t.TempDir(), time.Now()
		s := openDisk(t, dir, disk)
		old, report := spool.NewID(now), spool.NewID(now)
		put(t, s, old, []byte("old"), append(deliveries("a", now), deliveries("a", now)...))
		held := leased(t, s, 2)
		var settles []spool.Settlement
		for _, l := range held {
			settles = append(settles, spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
		}
		if !last {
			settles = settles[:1]
		}
		waste(t, s, now)
		reads, committed := 0, make(chan error, 1)
		disk.Fault(func(op, name string) error {
			// The first read is of the segment's headers, the second of the
			// message.
			if op == "read" {
				reads++
			}
			switch {
			case op == "read" && reads == 2:
				go func() {
					w, err := s.Create(t.Context(), report)
					if err == nil {
						err = w.Commit(t.Context(), spool.Commit{
							Message: spool.Message{Created: now}, Settle: settles,
							Deliveries: deliveries("report", now),
						})
					}
					committed <- err
				}()
				for range 5000 {
					if n, _ := s.Committing(); n == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			case op == "write" && reads >= 2:
				// The copy, if one is made now, comes behind.
				for range 50 {
					if _, n := s.Committing(); n == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			}
			return nil
		})
		s.HoldCleaner(false)
		s.Flush()
		if err := <-committed; err != nil {
			t.Fatal(err)
		}
		disk.Fault(nil)
		s.Close()
		s = openDisk(t, dir, disk)
		want := map[spool.DeliveryID]bool{{Message: report}: true}
		if !last {
			want[held[1].Delivery.ID] = true
		}
		l := leased(t, s, 100)
		for _, l := range l {
			if !want[l.Delivery.ID] {
				t.Errorf("all settled %v: leased %+v", last, l.Delivery)
			}
		}
		if len(l) < len(want) {
			t.Errorf("all settled %v: leased %+v", last, l)
		}
		s.Close()
	}
}

// TestCleanWhileSettled settles a delivery at the moment when the cleaner reads
// its message to copy it.
func TestCleanWhileSettled(t *testing.T) {
	t.Parallel()
	for _, last := range []bool{true, false} {
		disk := filespool.NewDisk(1)
		dir := t.TempDir()
		s := openDisk(t, dir, disk)
		now := time.Now()
		old := spool.NewID(now)
		put(t, s, old, []byte("old"), append(deliveries("stays", now), deliveries("goes", now)...))
		held := leased(t, s, 2)
		waste(t, s, now)
		reads := 0
		disk.Fault(func(op, name string) error {
			// The first read is of the segment's headers, the second of the
			// message.
			if op == "read" {
				reads++
			}
			if op == "read" && reads == 2 {
				finish(t, s, held[1])
				if last {
					finish(t, s, held[0])
				}
			}
			return nil
		})
		s.HoldCleaner(false)
		s.Flush()
		s.Flush() // what was settled meanwhile
		if _, n := s.Live(); n > 2 || reads < 2 {
			t.Fatalf("the log has %d segments after %d reads", n, reads)
		}
		disk.Crash()
		s.Close()
		s = openDisk(t, dir, disk)
		l := leased(t, s, 100)
		if last && len(l) != 0 ||
			!last && (len(l) != 1 || l[0].Delivery.ID != held[0].Delivery.ID) {
			t.Fatalf("settled %v: leased %+v", last, l)
		}
		s.Close()
	}
}
