package filespool

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// The cleaner gives space back: files of messages that are finished, and
// segments from the oldest end of the log. It must be the oldest end: a
// settlement, and the copy that replaces a record, count as long as what they
// end may still be found before them.

const (
	cleanStep  = 256 << 10        // bytes copied between pauses
	cleanRetry = 10 * time.Second // after there was no way forward
)

func (s *Store) wakeCleaner() {
	select {
	case s.cleanKick <- struct{}{}:
	default:
	}
}

// wantsCleaning tells whether there is anything to do. The caller holds the
// lock.
func (s *Store) wantsCleaning() bool {
	return len(s.trash) > 0 || len(s.segments) > 1 && s.segments[0].live == 0 || s.sparse()
}

// sparse tells whether so little of the log still counts that it is worth
// copying the oldest of it. What is copied is then never more than what is
// given back.
func (s *Store) sparse() bool {
	if len(s.segments) < 2 || time.Now().Before(s.cleanAfter) {
		return false
	}
	var used int64
	for _, g := range s.segments {
		used += g.end
	}
	waste := used - s.live
	if waste < 2*s.segmentBytes {
		return false
	}
	return waste > s.live || s.maxBytes > 0 && used+s.ownBytes > s.maxBytes/2
}

func (s *Store) clean() {
	defer close(s.cleanEnded)
	for {
		select {
		case <-s.cleanKick:
		case <-s.ended:
			s.empty()
			return
		}
		for s.empty() || s.dropOldest() || s.thinOldest() {
			select {
			case <-s.ended:
			default:
				continue
			}
			break
		}
	}
}

// empty removes the files of finished messages. It reports whether any went;
// the others are tried again.
func (s *Store) empty() bool {
	s.mu.Lock()
	trash := s.trash
	s.trash = nil
	s.mu.Unlock()
	went := false
	for _, t := range trash {
		err := s.finish(t.id)
		gone := err == nil || errors.Is(err, fs.ErrNotExist)
		if !gone && !t.told {
			s.log.Warn("filespool: the file of a finished message stays for now",
				"queue_id", t.id, "err", err)
		}
		s.mu.Lock()
		if gone {
			s.ownBytes -= t.size
			went = true
		} else {
			t.told = true
			s.trash = append(s.trash, t)
		}
		s.mu.Unlock()
	}
	return went
}

// finish removes the file of a finished message, or keeps it aside if it was
// found to be damaged.
func (s *Store) finish(id spool.ID) error {
	s.mu.Lock()
	_, spoiled := s.spoiled[id]
	s.mu.Unlock()
	if !spoiled {
		return s.fs.Remove(s.ownName(id))
	}
	err := s.fs.Rename(s.ownName(id), filepath.Join(s.dir, id.String()+savedSuffix))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		s.mu.Lock()
		delete(s.spoiled, id)
		s.mu.Unlock()
	}
	return err
}

// drop removes the file of a message that is not in the store. It returns the
// room taken until the cleaner removes a file that could not be removed now, or
// that a failed batch may still name.
func (s *Store) drop(id spool.ID, size int64) int64 {
	s.mu.Lock()
	uncut := s.uncut
	if uncut {
		s.doubtful = append(s.doubtful, ownTrash{id: id, size: size})
	}
	s.mu.Unlock()
	if uncut {
		return size
	}
	err := s.fs.Remove(s.ownName(id))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trash = append(s.trash, ownTrash{id: id, size: size})
	return size
}

// dropOldest gives the oldest segment back if nothing in it counts: its file is
// removed, or kept for the next roll.
func (s *Store) dropOldest() bool {
	s.mu.Lock()
	if s.failed != nil || len(s.segments) < 2 {
		s.mu.Unlock()
		return false
	}
	g := s.segments[0]
	idle := g.live == 0 && g.pins == 0
	s.mu.Unlock()
	if !idle {
		return false
	}
	// Nobody can find the segment any more: the index names it nowhere.
	g.file.Close()
	if err := s.discard(g); err != nil {
		s.log.Warn("filespool: a segment without messages stays",
			"segment", segmentName(g.number), "err", err)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cleanAfter = time.Now().Add(cleanRetry)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments = append([]*segment(nil), s.segments[1:]...)
	delete(s.byNumber, g.number)
	s.logBytes -= g.size
	return true
}

func (s *Store) discard(g *segment) error {
	s.spareMu.Lock()
	defer s.spareMu.Unlock()
	name, spare := filepath.Join(s.dir, segmentName(g.number)), filepath.Join(s.dir, spareName)
	var err error
	if g.size >= s.segmentBytes/2 && g.size <= 2*s.segmentBytes {
		err = s.fs.Rename(name, spare) // instead of a spare that is there
	} else {
		err = s.fs.Remove(name)
	}
	// It may be gone already, and only the sync be missing.
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// A later one must not be gone before this one is.
	s.unnamed = true
	if err := s.fs.SyncDir(s.dir); err != nil {
		return s.unsynced(err)
	}
	s.unnamed = false
	return nil
}

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
		st := state{seq: int(d.seq), at: d.update, key: s.index.byRoute[d.route].key, due: d.due}
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
			d.Key, d.Due = st.key, fromNanos(st.due)
			keep = append(keep, *d)
		}
	}
	if !ok || len(keep) != len(states) {
		s.log.Error("filespool: a message cannot be read and keeps its place",
			"queue_id", id, "err", ErrDamaged)
		return 0, nil, false
	}
	r := record{
		kind: kindCommit, meta: appendCommit(nil, &msg, own, keep, nil),
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
