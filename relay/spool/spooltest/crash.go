package spooltest

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// RunCrash tests what a store keeps of its steps when power is lost. open is
// called for each test. Each call of the crash that it returns ends the store
// that it returned before as a loss of power does, and opens what is left; the
// first opens an empty one.
func RunCrash(t *testing.T, open func(t *testing.T) (crash func() spool.Store)) {
	first := func(t *testing.T) spool.Store { return open(t)() }
	for _, c := range ofBubble(t, crashCases(), first) {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				crash := open(t)
				s := newSuite(t, crash())
				t.Cleanup(func() { s.Store.Close() })
				s.reopen = func() { s.Store = crash() }
				for range 20 {
					s.tick()
					c.test(s)
				}
			})
		})
	}
}

func crashCases() []testCase {
	step := func(s spool.Store) bool { return hasLog(s) && hasKeys(s) }
	return []testCase{
		{"Commit", nil, (*suite).crashAfterCommit},
		{"Step", step, (*suite).crashAfterStep},
		{"Settle", hasLog, (*suite).crashAfterSettle},
		{"While", step, (*suite).crashWhileCommitting},
	}
}

// logged counts the records of the log.
func (s *suite) logged() map[string]int {
	s.Helper()
	seen := make(map[string]int)
	for at := spool.Cursor(0); ; {
		got, err := s.log().Records(s.Context(), at, 100)
		s.ok(err)
		if len(got) == 0 {
			return seen
		}
		for _, r := range got {
			seen[string(r.Data)]++
			at = r.At
		}
	}
}

// has reports whether a message is in the store.
func (s *suite) has(id spool.ID) bool {
	s.Helper()
	r, err := s.Open(s.Context(), id)
	if errors.Is(err, spool.ErrNotFound) {
		return false
	}
	s.ok(err)
	s.ok(r.Close())
	return true
}

// crashAfterCommit keeps each message that was acknowledged.
func (s *suite) crashAfterCommit() {
	var ids []spool.ID
	for range 5 {
		ids = append(ids, s.commit(s.delivery("a", s.now)))
	}
	s.reopen()
	for _, id := range ids {
		s.read(id)
	}
	for _, l := range s.lease(spool.LeaseRequest{}).Leases {
		s.finish(l)
	}
}

// crashAfterStep keeps all that belongs to an acknowledged step.
func (s *suite) crashAfterStep() {
	cause := s.commit(s.delivery("a", s.now))
	l := s.lease(spool.LeaseRequest{Only: keys("a")}).Leases[0]
	report := s.id()
	s.ok(s.write(report, []byte("report")).Commit(s.Context(), spool.Commit{
		Deliveries: []spool.Delivery{s.delivery("back", s.now)},
		Settle: []spool.Settlement{{
			ID: l.Delivery.ID, Token: l.Token,
			Events: []spool.Record{s.record("bounced " + cause.String())},
		}},
		Events: []spool.Record{s.record("report " + report.String())},
		Claim:  claimOf("s", report.String(), 1),
	}))
	s.reopen()
	s.gone(cause)
	s.read(report)
	s.wantClaimed("s", report.String(), report, 1)
	log := s.logged()
	for _, want := range []string{"bounced " + cause.String(), "report " + report.String()} {
		if log[want] != 1 {
			s.Fatalf("%q is %d times in the log", want, log[want])
		}
	}
}

// crashAfterSettle may lose a settlement, but only with its events.
func (s *suite) crashAfterSettle() {
	var ids []spool.ID
	for range 5 {
		ids = append(ids, s.commit(s.delivery("a", s.now)))
	}
	for i, l := range s.lease(spool.LeaseRequest{}).Leases {
		s.ok(s.Settle(s.Context(), spool.Settlement{
			ID: l.Delivery.ID, Token: l.Token,
			Events: []spool.Record{s.record("delivered " + l.Message.ID.String())},
		}))
		if i%2 == 0 {
			s.sleep(time.Duration(i) * 20 * time.Millisecond) // some of it is written
		}
	}
	s.reopen()
	log := s.logged()
	for _, id := range ids {
		if n := log["delivered "+id.String()]; n > 1 || s.has(id) == (n == 1) {
			s.Fatalf("%v is in the store: %v; its event is %d times in the log", id, s.has(id), n)
		}
	}
	for _, l := range s.lease(spool.LeaseRequest{}).Leases {
		s.ok(s.Settle(s.Context(), spool.Settlement{
			ID: l.Delivery.ID, Token: l.Token,
			Events: []spool.Record{s.record("delivered " + l.Message.ID.String())},
		}))
	}
}

// crashWhileCommitting keeps what was acknowledged, and of the rest all or
// nothing.
func (s *suite) crashWhileCommitting() {
	const sessions, each = 4, 5
	ids := make([]spool.ID, sessions*each)
	for i := range ids {
		ids[i] = s.id()
	}
	acknowledged := make([]bool, len(ids))
	var wg sync.WaitGroup
	before := s.Store
	for n := range sessions {
		wg.Go(func() {
			for i := n; i < len(ids); i += sessions {
				w, err := before.Create(s.Context(), ids[i])
				if err != nil {
					return
				}
				acknowledged[i] = w.Commit(s.Context(), spool.Commit{
					Deliveries: []spool.Delivery{s.delivery("a", s.now)},
					Events:     []spool.Record{s.record("accepted " + ids[i].String())},
					Claim:      claimOf("s", ids[i].String(), 1),
				}) == nil
			}
		})
	}
	s.reopen()
	wg.Wait()
	log := s.logged()
	for i, id := range ids {
		_, _, claimed, err := s.Store.(spool.Keys).Claimed(s.Context(), "s", id.String())
		s.ok(err)
		there, events := s.has(id), log["accepted "+id.String()]
		if acknowledged[i] && !there {
			s.Fatalf("%v was acknowledged and is lost", id)
		}
		if there != claimed || there != (events == 1) || events > 1 {
			s.Fatalf("of %v there is the message: %v, its key: %v, its event: %d times",
				id, there, claimed, events)
		}
	}
}
