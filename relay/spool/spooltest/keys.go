package spooltest

import (
	"errors"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

func keyCases() []testCase {
	return []testCase{
		{"Claim", hasKeys, (*suite).claim},
		{"ClaimEnds", hasKeys, (*suite).claimEnds},
		{"ClaimOfFailedCommit", hasKeys, (*suite).claimOfFailedCommit},
		{"ClaimRace", hasKeys, (*suite).claimRace},
		{"OneStep", func(s spool.Store) bool { return hasKeys(s) && hasLog(s) }, (*suite).oneStep},
	}
}

func hasKeys(s spool.Store) bool { _, ok := s.(spool.Keys); return ok }

func claimOf(scope, key string, digest byte) *spool.Claim {
	return &spool.Claim{Scope: scope, Key: key, Digest: [32]byte{digest}, TTL: time.Hour}
}

// submit commits a message with a key.
func (s *suite) submit(c *spool.Claim) (spool.ID, error) {
	s.Helper()
	id := s.id()
	return id, s.write(id, []byte("content")).Commit(s.Context(), spool.Commit{
		Deliveries: []spool.Delivery{s.delivery("a", s.now)}, Claim: c,
	})
}

// wantClaimed asks who has a key; the zero id is nobody.
func (s *suite) wantClaimed(scope, key string, want spool.ID, digest byte) {
	s.Helper()
	id, d, ok, err := s.Store.(spool.Keys).Claimed(s.Context(), scope, key)
	s.ok(err)
	if ok == want.IsZero() || ok && (id != want || d != [32]byte{digest}) {
		s.Fatalf("%s/%s is claimed by %v (%v), want %v", scope, key, id, ok, want)
	}
}

func (s *suite) claim() {
	s.wantClaimed("s", "k", spool.ID{}, 0)
	id, err := s.submit(claimOf("s", "k", 1))
	s.ok(err)
	s.wantClaimed("s", "k", id, 1)
	for _, digest := range []byte{1, 2} { // whatever else is in it
		again, err := s.submit(claimOf("s", "k", digest))
		e, ok := errors.AsType[*spool.ClaimedError](err)
		if s.is(err, spool.ErrClaimed); !ok || e.Message != id || e.Digest != [32]byte{1} {
			s.Fatalf("answered %+v, want the message %v", err, id)
		}
		s.gone(again)
		s.wantStats(1, 1, 0)
	}
	other, err := s.submit(claimOf("sk", "", 3))
	s.ok(err)
	s.wantClaimed("sk", "", other, 3)
	s.wantClaimed("s", "k", id, 1)
	s.wantClaimed("", "sk", spool.ID{}, 0)
}

// claimEnds keeps a key for its time, also when the message is finished.
func (s *suite) claimEnds() {
	id, err := s.submit(claimOf("s", "k", 1))
	s.ok(err)
	s.finish(s.one())
	s.wantStats(0, 0, 0)
	s.sleep(59 * time.Minute)
	s.wantClaimed("s", "k", id, 1)
	_, err = s.submit(claimOf("s", "k", 1))
	s.is(err, spool.ErrClaimed)
	s.sleep(2 * time.Minute)
	s.wantClaimed("s", "k", spool.ID{}, 0)
	id, err = s.submit(claimOf("s", "k", 2))
	s.ok(err)
	s.wantClaimed("s", "k", id, 2)
	none := claimOf("s", "none", 1)
	none.TTL = 0
	_, err = s.submit(none)
	s.ok(err)
	s.wantClaimed("s", "none", spool.ID{}, 0)
}

func (s *suite) claimOfFailedCommit() {
	s.is(s.write(s.id(), nil).Commit(s.Context(), spool.Commit{
		Deliveries: []spool.Delivery{s.delivery("a", s.now)}, Claim: claimOf("s", "k", 1),
		Settle: []spool.Settlement{{ID: spool.DeliveryID{Message: s.id()}, Token: 1}},
	}), spool.ErrLeaseLost)
	s.wantClaimed("s", "k", spool.ID{}, 0)
	_, err := s.submit(claimOf("s", "k", 2))
	s.ok(err)
}

// claimRace has many commits with one key, of which one wins.
func (s *suite) claimRace() {
	writers := make([]spool.Writer, 8)
	for i := range writers {
		writers[i] = s.write(s.id(), nil)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(writers))
	for i, w := range writers {
		wg.Go(func() {
			errs[i] = w.Commit(s.Context(), spool.Commit{
				Deliveries: []spool.Delivery{s.delivery("a", s.now)},
				Claim:      claimOf("s", "k", byte(i)),
			})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		s.is(err, spool.ErrClaimed)
	}
	if won != 1 {
		s.Fatalf("%d commits with one key were accepted", won)
	}
	s.wantStats(1, 1, 0)
}

// oneStep commits a message with all that may belong to the step: all of it
// happens, or nothing.
func (s *suite) oneStep() {
	cause := s.accept(s.record("accepted"))
	l := s.one()
	report := func(token uint64, c *spool.Claim) (spool.ID, error) {
		id := s.id()
		return id, s.write(id, []byte("report")).Commit(s.Context(), spool.Commit{
			Deliveries: []spool.Delivery{s.delivery("back", s.now)},
			Settle: []spool.Settlement{{
				ID: l.Delivery.ID, Token: token, Events: []spool.Record{s.record("bounced")},
			}},
			Events: []spool.Record{s.record("report")}, Claim: c,
		})
	}
	id, err := report(l.Token^1, claimOf("s", "k", 1))
	s.is(err, spool.ErrLeaseLost)
	s.gone(id)
	s.wantClaimed("s", "k", spool.ID{}, 0)
	s.wantStats(1, 1, 1)
	_, err = s.submit(claimOf("s", "used", 1))
	s.ok(err)
	id, err = report(l.Token, claimOf("s", "used", 2))
	s.is(err, spool.ErrClaimed)
	s.gone(id)
	s.wantStats(2, 2, 1)
	id, err = report(l.Token, claimOf("s", "k", 1))
	s.ok(err)
	s.gone(cause)
	s.read(id)
	s.wantClaimed("s", "k", id, 1)
	s.wantStats(2, 2, 0)
	s.wantLog("accepted", "report", "bounced")
}
