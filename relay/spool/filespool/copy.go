package filespool

import (
	"slices"
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

	t := &thinning{s: s, g: g}
	if !t.copy() || !t.pause() {
		return false
	}
	if !t.progress {
		s.mu.Lock()
		s.cleanAfter = time.Now().Add(cleanRetry)
		s.mu.Unlock()
	}
	return t.progress
}

// thinning copies what counts in a segment.
type thinning struct {
	s        *Store
	g        *segment
	copied   int64         // since the last pause
	wait     chan struct{} // closed when the last copy is written
	progress bool
}

// copy goes through the segment. The index does not know which messages lie in
// it: the segment does. It reports false when the store closes.
func (t *thinning) copy() bool {
	v := &scan{file: t.g.file, mark: t.s.mark, number: t.g.number, limit: t.g.end}
	for {
		r, ok := v.next()
		if !ok {
			return true
		}
		if r.kind != kindCommit {
			continue
		}
		d := decoder{b: r.body}
		id := d.head().id
		n, done, again := t.s.copyMessage(t.g, id, r.at)
		for again {
			n, done, again = t.s.copyMessage(t.g, id, r.at)
		}
		if n > 0 {
			t.copied, t.wait, t.progress = t.copied+n, done, true
		}
		if t.copied >= cleanStep && !t.pause() {
			return false
		}
	}
}

// pause waits as long as CleanBytes demands. It reports false when the store
// closes.
func (t *thinning) pause() bool {
	if t.wait != nil {
		<-t.wait
		t.wait = nil
	}
	seconds := float64(t.copied) / float64(t.s.cleanBytes)
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	t.copied = 0
	select {
	case <-timer.C:
		return true
	case <-t.s.quit:
		return false
	}
}

// original is a message whose record is to be copied, and what was known of it
// when it was read.
type original struct {
	id     spool.ID
	was    message
	states []deliveryState
}

// deliveryState is what the index and the log have of a delivery.
type deliveryState struct {
	seq    int
	at     loc      // of the last update
	holder *segment // of that, if there is one
	key    spool.Key
	due    int64
	standing
}

// copyMessage appends a copy of a message, in the state that it is in, if its
// record is the one at the given place. It returns the bytes copied and what is
// closed when they are written; again tells that the message changed meanwhile.
func (s *Store) copyMessage(g *segment, id spool.ID, at int64) (
	n int64, done chan struct{}, again bool,
) {
	o, ok := s.original(g, id, at)
	if !ok {
		return 0, nil, false
	}
	defer o.unpin(s)
	r, err := o.read(g)
	if err != nil {
		s.log.Error("filespool: a message cannot be read and keeps its place",
			"queue_id", id, "err", err)
		return 0, nil, false
	}
	r.done = func(at loc, err error) { o.moved(s, at, err) }

	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.batch.buf) > batchLimit && !s.closed && s.failed == nil {
		s.room.Wait()
	}
	_, m := s.index.find(id)
	if s.closed || s.failed != nil || m == nil || m.loc != o.was.loc || s.settling(m) {
		return 0, nil, false // in the last case its turn comes later
	}
	if m.version != o.was.version {
		return 0, nil, true
	}
	return o.was.record(), s.enqueue(r, true).done, false
}

// settling tells whether a commit under way settles something of a message. The
// index learns of that once it is written; a copy would come behind it in the
// log, and undo it there. The caller holds the lock.
func (s *Store) settling(m *message) bool {
	for h := m.first; h != none; h = s.index.deliveries.get(h).next {
		if l := s.leases[h]; l != nil && l.bound {
			return true
		}
	}
	return false
}

// original looks a message up. It is not ok if its record is another, or an
// update is not in the log yet: then its turn comes later.
func (s *Store) original(g *segment, id spool.ID, at int64) (o *original, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, m := s.index.find(id)
	if m == nil || m.loc.segment != g.number || m.loc.at() != at {
		return nil, false
	}
	o = &original{id: id, was: *m}
	for h := m.first; h != none; h = s.index.deliveries.get(h).next {
		if s.updates[h] != nil {
			return nil, false
		}
	}
	for h := m.first; h != none; {
		d := s.index.deliveries.get(h)
		st := deliveryState{
			seq: int(d.seq), at: d.update, key: s.index.lines.get(d.line).key(), due: d.due,
			standing: d.standing,
		}
		if !d.update.isZero() {
			st.holder = s.pin(d.update.segment)
		}
		o.states = append(o.states, st)
		h = d.next
	}
	return o, true
}

func (o *original) unpin(s *Store) {
	for _, st := range o.states {
		if st.holder != nil {
			s.unpin(st.holder)
		}
	}
}

// read makes the record of the copy. The checksum of the content is copied as
// well: damage stays what it is. What the record had for the ledgers they have.
func (o *original) read(g *segment) (*record, error) {
	var buf []byte
	meta := int64(o.was.loc.meta)
	h, b, err := g.read(o.was.loc, headerSize+meta+int64(o.was.content), &buf)
	if err != nil {
		return nil, err
	}
	msg, own, ds, ok := decodeCommit(b[:meta])
	if !ok {
		return nil, ErrDamaged
	}
	keep, err := o.current(ds)
	if err != nil {
		return nil, err
	}
	return &record{
		kind: kindCommit, meta: appendCommit(nil, &msg, own, keep, nil, extras{}),
		content: [2][]byte{b[meta:]}, contentSum: h.contentSum,
	}, nil
}

// current returns the deliveries that are left, as they are now.
func (o *original) current(ds []spool.Delivery) (keep []spool.Delivery, err error) {
	var buf []byte
	for _, st := range o.states {
		i := slices.IndexFunc(ds, func(d spool.Delivery) bool { return d.ID.Seq == st.seq })
		if i < 0 {
			return nil, ErrDamaged
		}
		d := ds[i]
		if st.holder != nil {
			h, meta, err := st.holder.meta(st.at, &buf)
			if err != nil {
				return nil, err
			}
			u, ok := decodeUpdate(h.kind, meta, o.id, st.seq)
			if !ok {
				return nil, ErrDamaged
			}
			u.apply(&d)
		}
		d.Key, d.Due = st.key, fromNanos(st.due)
		d.Held, d.Crashes = st.held(), st.crashes()
		keep = append(keep, d)
	}
	return keep, nil
}

// moved puts the copy in the place of the original. The caller holds the lock.
func (o *original) moved(s *Store, at loc, err error) {
	if err != nil {
		s.cleanAfter = time.Now().Add(cleanRetry)
		return
	}
	_, m := s.index.find(o.id)
	if m == nil || m.loc != o.was.loc {
		return
	}
	s.dead(m.loc.segment, m.record())
	m.loc = at
	s.lives(at.segment, m.record())
	for _, st := range o.states {
		if _, d := s.index.delivery(m, st.seq); d != nil && d.update == st.at {
			s.overwrite(d.update)
			d.update = loc{}
		}
	}
}
