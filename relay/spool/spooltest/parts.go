package spooltest

import (
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// partCases are those of the small parts.
func partCases() []testCase {
	return []testCase{
		{"Waker", hasWaker, (*suite).waker},
		{"WakerRelease", func(s spool.Store) bool { return hasWaker(s) && hasManager(s) },
			(*suite).wakerRelease},
		{"Gauge", hasGauge, (*suite).gauge},
		{"Committer", hasCommitter, (*suite).committer},
		{"Recaller", hasRecaller, (*suite).recaller},
	}
}

func hasWaker(s spool.Store) bool     { _, ok := s.(spool.Waker); return ok }
func hasGauge(s spool.Store) bool     { _, ok := s.(spool.Gauge); return ok }
func hasCommitter(s spool.Store) bool { _, ok := s.(spool.Committer); return ok }

func hasRecaller(s spool.Store) bool { _, ok := s.(spool.Recaller); return ok }

// recaller has in memory what it was told to keep, or nothing.
func (s *suite) recaller() {
	id := s.id()
	s.ok(s.write(id, []byte("content")).Commit(s.Context(), spool.Commit{
		Prepend: []byte("before "), Deliveries: []spool.Delivery{s.delivery("a", s.now)},
	}))
	for _, node := range s.nodes() {
		if b := node.(spool.Recaller).Recall(id); b != nil && string(b) != "before content" {
			s.Errorf("%q is recalled", b)
		}
		if b := node.(spool.Recaller).Recall(s.id()); b != nil {
			s.Errorf("%q is recalled of no message", b)
		}
	}
	s.finish(s.leaseN(spool.LeaseRequest{}, 1)[0])
	s.gone(id)
}

// asleep forgets wakes that came before.
func (s *suite) asleep() {
	for _, node := range s.nodes() {
		select {
		case <-node.(spool.Waker).Wake():
		default:
		}
	}
}

// woken waits for a wake of each node.
func (s *suite) woken() bool {
	end := time.After(s.patience)
	for _, node := range s.nodes() {
		select {
		case <-node.(spool.Waker).Wake():
		case <-end:
			return false
		}
	}
	return true
}

// waker tells of what is due sooner than was said.
func (s *suite) waker() {
	s.none()
	s.asleep()
	if len(s.nodes()) == 1 { // of what is due later, another node hears when it is due
		s.commit(s.delivery("a", s.now.Add(time.Hour)))
		if !s.woken() {
			s.Fatal("not woken by the first delivery")
		}
		s.none()
		s.asleep()
	}
	s.tick()
	s.commit(s.delivery("b", s.now))
	if !s.woken() {
		s.Fatal("not woken by one that is due sooner than the next")
	}
	s.wantRoutes(spool.LeaseRequest{}, "b")
}

// wakerRelease tells of what was on hold.
func (s *suite) wakerRelease() {
	d := s.delivery("a", s.now)
	d.Held = true
	id := spool.DeliveryID{Message: s.commit(d)}
	s.none()
	s.asleep()
	s.ok(s.Settle(s.Context(), again(s.take(id))))
	if !s.woken() {
		s.Fatal("not woken by what was released")
	}
	s.one()
}

// gauge tells a room that a store has.
func (s *suite) gauge() {
	free, err := s.Store.(spool.Gauge).Free()
	if err == nil && free < 0 {
		s.Fatalf("%d bytes are free", free)
	}
}

// committer stores what was made ready elsewhere.
func (s *suite) committer() {
	id := s.id()
	p := &spool.Prepared{
		Content: []byte("Subject: x\r\n"),
		Commit: spool.Commit{
			Message:    spool.Message{ID: id, From: "app@example.com"},
			Deliveries: []spool.Delivery{s.delivery("a", s.now)},
			Prepend:    []byte("Received: y\r\n"),
		},
	}
	s.ok(s.Store.(spool.Committer).Commit(s.Context(), p))
	clear(p.Content) // the store has kept nothing of it
	if got := string(s.read(id)); got != "Received: y\r\nSubject: x\r\n" {
		s.Fatalf("content is %q", got)
	}
	s.is(s.Store.(spool.Committer).Commit(s.Context(), p), spool.ErrExists)
	if l := s.one(); l.Message.ID != id || l.Message.From != "app@example.com" {
		s.Fatalf("leased %+v", l)
	}
}
