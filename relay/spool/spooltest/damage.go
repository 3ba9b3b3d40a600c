package spooltest

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// RunDamage tests what a store does with content that is not there any more as
// it was written: the message stays in the queue until it is settled, so that
// its sender can be told, and nothing of the damage passes for the whole.
//
// open is called for each test. The reopen that it returns opens the same place
// each time. Its damage changes or removes the content of a message, beneath
// the store, whether that is open or not; the content begins with the message's
// id as it is printed, and is up to 300,000 bytes long.
func RunDamage(
	t *testing.T,
	open func(t *testing.T) (reopen func() spool.Store, damage func(id spool.ID)),
) {
	for _, c := range []struct {
		name    string
		size    int
		restart bool
	}{
		{"Short", 1000, false},
		{"ShortAtStart", 1000, true},
		{"Long", 300_000, false},
		{"LongAtStart", 300_000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			reopen, damage := open(t)
			s := newSuite(t, reopen())
			t.Cleanup(func() { s.Store.Close() })
			s.damaged(c.size, damage, func() {
				t.Helper()
				if c.restart {
					s.ok(s.Store.Close())
				}
			}, func() {
				if c.restart {
					s.Store = reopen()
				}
			})
		})
	}
}

func (s *suite) damaged(size int, damage func(spool.ID), before, after func()) {
	put := func() spool.ID {
		id := s.id()
		content := append([]byte(id.String()), bytes.Repeat([]byte("x"), size)...)
		s.ok(s.write(id, content).Commit(s.Context(), spool.Commit{
			Message:    spool.Message{From: "sender@example.com"},
			Deliveries: []spool.Delivery{s.delivery("a", s.now), s.delivery("b", s.now)},
		}))
		return id
	}
	bad, good := put(), put()
	before()
	damage(bad)
	after()

	s.wantStats(2, 4, 0)
	s.read(good)
	leases := s.lease(spool.LeaseRequest{}).Leases
	if len(leases) != 4 {
		s.Fatalf("leased %d deliveries, want 4", len(leases))
	}
	for range 2 { // it stays damaged
		s.unreadable(bad)
	}
	for i, l := range leases {
		if l.Damaged != nil || l.Message.From != "sender@example.com" ||
			len(l.Delivery.Recipients) != 1 || l.Message.Size <= int64(size) {
			s.Fatalf("leased %+v", l)
		}
		if l.Message.ID != bad {
			s.finish(l)
			continue
		}
		report := spool.DeriveID(bad, l.Delivery.ID.String())
		settle := []spool.Settlement{{ID: l.Delivery.ID, Token: l.Token}}
		s.ok(s.write(report, []byte("report")).Commit(s.Context(), spool.Commit{
			Deliveries: []spool.Delivery{s.delivery("back", s.now.Add(time.Hour))}, Settle: settle,
		}))
		if i < 1 {
			s.unreadable(bad)
		}
	}
	s.gone(bad)
	s.wantStats(2, 2, 0)
}

// unreadable reads damaged content, which must end with ErrDamaged.
func (s *suite) unreadable(id spool.ID) {
	s.Helper()
	r, err := s.Open(s.Context(), id)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		r.Close()
	}
	if !errors.Is(err, spool.ErrDamaged) || errors.Is(err, spool.ErrNotFound) {
		s.Fatalf("reading damaged content: error is %v, want ErrDamaged", err)
	}
}
