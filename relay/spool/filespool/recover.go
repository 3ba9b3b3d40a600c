package filespool

import (
	"slices"
	"time"
)

// Recovery tells what Open found.
type Recovery struct {
	Segments   int
	Messages   int
	Deliveries int
	// Read is the number of bytes read of the log.
	Read int64
	// Took is how long it took.
	Took time.Duration
	// Damage lists what was not as it should be.
	Damage []Damage
}

// Recovery tells what Open found.
func (s *Store) Recovery() Recovery {
	r := s.recovery
	r.Damage = slices.Clone(r.Damage)
	return r
}

func (s *Store) damage(d Damage) {
	s.recovery.Damage = append(s.recovery.Damage, d)
	args := d.attrs()
	switch {
	case d.Torn:
		s.log.Warn("filespool: cut off what was being written when the store stopped", args...)
	case d.Mended:
		s.log.Warn("filespool: a byte that was wrong has been put right", args...)
	default:
		s.log.Error("filespool: damage", args...)
	}
}

// lost tells of damage that may have taken messages along.
func (r *Recovery) lost() bool {
	return slices.ContainsFunc(r.Damage, func(d Damage) bool { return !d.Torn && !d.Mended })
}

// recover reads the directory.
func (s *Store) recover() error {
	began := time.Now()
	if err := s.openSegments(); err != nil {
		return err
	}
	held := marks{unknown, unknown}
	if len(s.segments) > 0 {
		held = s.segments[0].before
	}
	if err := s.openLedgers(held); err != nil {
		return err
	}
	if err := s.replayAll(); err != nil {
		return err
	}
	if err := s.matchFiles(); err != nil {
		return err
	}
	if n := len(s.segments); n > 0 {
		s.active = s.segments[n-1]
	} else if err := s.roll(); err != nil {
		return err
	}
	s.addLost()
	s.queueAll()
	s.recovery.Segments = len(s.segments)
	s.recovery.Messages = s.index.messages.len()
	s.recovery.Deliveries = s.index.deliveries.len()
	s.recovery.Took = time.Since(began)
	return nil
}

// replayAll reads the log.
func (s *Store) replayAll() error {
	for i, g := range s.segments {
		if i > 0 && s.segments[i-1].number != g.number-1 {
			s.breakLedgers()
		}
		if err := s.replay(g, i == len(s.segments)-1); err != nil {
			return err
		}
		// What a process wrote and did not sync before it died is shown and
		// copied only when power cannot take it any more.
		if s.events.waits() || s.claims.ledger.waits() {
			if err := g.file.Sync(); err != nil {
				return s.unsynced(err)
			}
		}
		s.writeLedgers()
	}
	s.raiseSeq()
	s.seq++
	return nil
}

// queueAll counts what lives in the log and queues the deliveries.
func (s *Store) queueAll() {
	x := s.index
	x.all(func(m *message) {
		s.lives(m.loc.segment, m.record())
		for d := m.first; d != none; d = x.deliveries.get(d).next {
			e := x.deliveries.get(d)
			if !e.update.isZero() {
				s.lives(e.update.segment, recordSize(e.update.meta, 0))
			}
			if !e.held() {
				x.push(x.lines.get(e.line), d)
			}
		}
	})
	for n := range x.lines.used {
		if l := x.lines.get(n); l.refs > 0 && l.first != none {
			x.join(n)
		}
	}
}
