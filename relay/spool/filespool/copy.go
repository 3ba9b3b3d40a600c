package filespool

import (
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// thinOldest copies what counts in the oldest segment to the end of the log, if
// the log is worth it. It reports whether it got anywhere.
func (s *Store) thinOldest() bool {
	s.mu.Lock()
	if s.failed != nil || s.closed || !s.sparse() {
		s.mu.Unlock()
		return false
	}
	g := s.segments[0]
	g.pins++
	s.mu.Unlock()
	defer s.unpin(g)

	// The index does not know which messages lie in a segment. The segment
	// does.
	var copied int64
	var wait chan struct{}
	progress := false
	pause := func() bool {
		if wait != nil {
			<-wait
			wait = nil
		}
		t := time.NewTimer(
			time.Duration(float64(copied) / float64(s.cleanBytes) * float64(time.Second)),
		)
		defer t.Stop()
		copied = 0
		select {
		case <-t.C:
			return true
		case <-s.quit:
			return false
		}
	}
	v := &scan{file: g.file, mark: s.mark, number: g.number, limit: g.end}
	for {
		r, ok := v.next()
		if !ok {
			break
		}
		if r.kind != kindCommit {
			continue
		}
		d := decoder{b: r.body}
		id := d.head().id
		n, done, again := s.copyMessage(g, id, r.at)
		for again {
			n, done, again = s.copyMessage(g, id, r.at)
		}
		if n > 0 {
			copied, wait, progress = copied+n, done, true
		}
		if copied >= cleanStep && !pause() {
			return false
		}
	}
	if !pause() {
		return false
	}
	if !progress {
		s.mu.Lock()
		s.cleanAfter = time.Now().Add(cleanRetry)
		s.mu.Unlock()
	}
	return progress
}

// copyMessage appends a copy of a message, in the state that it is in, if its
// record is the one at the given place. It returns the bytes copied and what is
// closed when they are written; again tells that the message changed meanwhile.
func (s *Store) copyMessage(g *segment, id spool.ID, at int64) (
	n int64, done chan struct{}, again bool,
) {
	type state struct {
		seq  int
		at   loc
		held *segment
		key  spool.Key
		due  int64
		on   bool // hold
	}
	s.mu.Lock()
	_, m := s.index.find(id)
	if m == nil || m.loc.segment != g.number || m.loc.at() != at {
		s.mu.Unlock()
		return 0, nil, false
	}
	was := *m
	var states []state
	unwritten := false
	for h := m.first; h != none; {
		d := s.index.deliveries.get(h)
		st := state{seq: int(d.seq), at: d.update, key: s.index.byRoute[d.route].key, due: d.due,
			on: d.held}
		if s.updates[h] != nil {
			unwritten = true
		} else if !d.update.isZero() {
			st.held = s.pin(d.update.segment)
		}
		states = append(states, st)
		h = d.next
	}
	s.mu.Unlock()
	defer func() {
		for _, st := range states {
			if st.held != nil {
				s.unpin(st.held)
			}
		}
	}()
	if unwritten {
		return 0, nil, false // its turn comes when the update is in the log
	}

	var buf, other []byte
	h, b, err := g.read(was.loc, headerSize+int64(was.loc.meta)+int64(was.content), &buf)
	if err != nil {
		s.log.Error(
			"filespool: a message cannot be read and keeps its place", "queue_id", id, "err", err,
		)
		return 0, nil, false
	}
	msg, own, ds, ok := decodeCommit(b[:was.loc.meta])
	var keep []spool.Delivery
	for _, st := range states {
		for i := range ds {
			d := &ds[i]
			if d.ID.Seq != st.seq {
				continue
			}
			if st.held != nil {
				h, meta, err := st.held.meta(st.at, &other)
				var u *update
				if err == nil {
					u, ok = decodeUpdate(h.kind, meta, id, st.seq)
				}
				if err != nil || !ok {
					s.log.Error("filespool: a delivery cannot be read and keeps its place",
						"queue_id", d.ID.Message, "err", err)
					return 0, nil, false
				}
				u.apply(d)
			}
			d.Key, d.Due, d.Held = st.key, fromNanos(st.due), st.on
			keep = append(keep, *d)
		}
	}
	if !ok || len(keep) != len(states) {
		s.log.Error("filespool: a message cannot be read and keeps its place",
			"queue_id", id, "err", ErrDamaged)
		return 0, nil, false
	}
	r := record{
		kind: kindCommit, meta: appendCommit(nil, &msg, own, keep, nil, extras{}),
		// The checksum is copied as well: damage stays what it is.
		content: [2][]byte{b[was.loc.meta:]}, contentSum: h.contentSum,
	}
	r.done = func(at loc, err error) {
		if err != nil {
			s.cleanAfter = time.Now().Add(cleanRetry)
			return
		}
		_, m := s.index.find(id)
		if m == nil || m.loc != was.loc {
			return
		}
		s.dead(m.loc.segment, m.record())
		m.loc = at
		s.lives(at.segment, m.record())
		for _, st := range states {
			if _, d := s.index.delivery(m, st.seq); d != nil && d.update == st.at {
				s.overwrite(d.update)
				d.update = loc{}
			}
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.batch.buf) > batchLimit && !s.closed && s.failed == nil {
		s.room.Wait()
	}
	_, m = s.index.find(id)
	if s.closed || s.failed != nil || m == nil || m.loc != was.loc {
		return 0, nil, false
	}
	if m.version != was.version {
		return 0, nil, true
	}
	return was.record(), s.enqueue(&r, true).done, false
}
