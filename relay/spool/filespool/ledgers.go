package filespool

import (
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// marks are places in the ledgers.
type marks struct {
	events, claims spool.Cursor
}

// marks returns where the ledgers end.
func (s *Store) marks() marks {
	s.mu.Lock()
	defer s.mu.Unlock()
	return marks{s.events.last, s.claims.ledger.last}
}

// openLedgers finds what the ledgers have. Up to held the log has it not.
func (s *Store) openLedgers(held marks) error {
	if err := s.events.open(held.events); err != nil {
		return err
	}
	if err := s.claims.ledger.open(held.claims); err != nil {
		return err
	}
	if err := s.claims.load(nanos(s.now())); err != nil {
		return err
	}
	if err := s.openConsumers(); err != nil {
		return err
	}
	return s.openShared()
}

// restoreExtras takes what a record of the log brought for the ledgers.
func (s *Store) restoreExtras(seq uint64, x *extras) {
	s.events.restore(seq, x.events...)
	c := s.claims.ledger
	if len(x.claim) == 0 {
		c.restore(seq)
		return
	}
	k, v, ok := parseClaim(x.claim)
	now := nanos(s.now())
	if v.at = cursor(seq, 0); ok && v.at > c.last && v.until > now {
		s.claims.add(k, v, now)
	}
	c.restore(seq, entry{time: v.until, data: x.claim})
}

// breakLedgers notes that a part of the log is missing, and with it entries
// that the ledgers have not taken yet.
func (s *Store) breakLedgers() { s.events.broken = true }

// raiseSeq keeps places in the ledgers from being given again.
func (s *Store) raiseSeq() {
	last := max(s.events.last, s.claims.ledger.last)
	for _, c := range s.consumers.at {
		last = max(last, c)
	}
	s.seq = max(s.seq, uint64(last>>16))
}

// enterExtras hands what a record brought to the ledgers. The caller holds the
// lock.
func (s *Store) enterExtras(seq uint64, x *extras) {
	for i := range x.events {
		x.events[i].at = cursor(seq, i)
	}
	s.events.add(x.events...)
	if len(x.claim) == 0 {
		return
	}
	k, v, _ := parseClaim(x.claim)
	v.at = cursor(seq, 0)
	s.claims.add(k, v, nanos(s.now()))
	s.claims.ledger.add(entry{at: v.at, time: v.until, data: x.claim})
}

func (s *Store) ledgers() [2]*ledger { return [...]*ledger{s.events, s.claims.ledger} }

// writeLedgers writes what the ledgers have taken, if it is worth it: until
// then the log has it. What cannot be written is tried again.
func (s *Store) writeLedgers() {
	for _, l := range s.ledgers() {
		s.mu.Lock()
		worth := l.waiting >= l.gather && l.waits()
		s.mu.Unlock()
		if worth {
			s.writeLedger(l)
		}
	}
}

// writeLedger writes all that a ledger has taken.
func (s *Store) writeLedger(l *ledger) {
	if s.broken() != nil {
		return
	}
	err := l.write()
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Error("filespool: the log keeps what could not be copied yet", "err", err)
	if !s.flushing {
		s.flushing = true
		s.timer.Reset(time.Second)
	}
}

// outlive makes durable what a segment of the log has for the ledgers, up to
// the marks of the next one.
func (s *Store) outlive(m marks) bool {
	for _, l := range s.ledgers() {
		s.writeLedger(l)
	}
	return s.events.sync(m.events) && s.claims.ledger.sync(m.claims)
}

// dropClaims removes a file of keys that have all ended. It reports whether
// there was one.
func (s *Store) dropClaims() bool {
	s.mu.Lock()
	s.claims.trim(nanos(s.now()))
	spent, oldest := s.claims.spent(), s.claims.oldest()
	s.mu.Unlock()
	if !spent {
		return false
	}
	err := s.claims.ledger.drop(func(g *sheet) bool { return g.newest < oldest })
	if err != nil {
		s.log.Warn("filespool: a file of keys that have ended stays for now", "err", err)
	}
	return err == nil
}
