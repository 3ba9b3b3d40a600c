package filespool

import (
	"errors"
	"fmt"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// wake makes the committer look for work.
func (s *Store) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// commit is the committer.
func (s *Store) commit() {
	defer close(s.ended)
	var used []byte
	for {
		select {
		case <-s.kick:
		case <-s.timer.C:
		case <-s.quit:
			s.mu.Lock()
			b := s.batch
			s.batch = newBatch(nil)
			b.add(&record{kind: kindClose, done: func(loc, error) {}})
			s.mu.Unlock()
			s.flush(b)
			for _, l := range s.ledgers() {
				s.writeLedger(l)
			}
			return
		}
		s.mu.Lock()
		b := s.batch
		s.flushing = false
		if len(b.ops) == 0 {
			s.mu.Unlock()
			s.writeLedgers()
			continue
		}
		s.batch = newBatch(used)
		s.room.Broadcast()
		s.mu.Unlock()
		s.flush(b)
		used = nil
		if cap(b.buf) <= 2*batchLimit {
			used = b.buf
		}
	}
}

// flush writes a batch and tells everybody of its fate.
func (s *Store) flush(b *batch) {
	locs, err := s.write(b)
	if err != nil {
		// Settlements have been acknowledged: they must come before whatever is
		// written next, and there is often room for them where there is none
		// for content.
		s.mu.Lock()
		for _, o := range b.ops {
			if !o.keep {
				o.done(loc{}, err)
			}
		}
		s.mu.Unlock()
		k := b.kept(newBatch(nil))
		close(b.done)
		if len(k.ops) == 0 {
			return
		}
		b = k
		if locs, err = s.write(b); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.log.Error("filespool: settlements could not be written yet", "err", err)
			if s.failed == nil {
				s.batch = b.kept(s.batch)
				s.flushing = true
				s.timer.Reset(time.Second)
			}
			return
		}
	}
	s.mu.Lock()
	for i := range b.ops {
		o := &b.ops[i]
		o.done(locs[i], nil)
		if o.x != nil {
			s.enterExtras(o.seq, o.x)
		}
	}
	clean := s.wantsCleaning()
	s.mu.Unlock()
	close(b.done)
	s.writeLedgers()
	if clean {
		s.wakeCleaner()
	}
}

// write puts a batch at the end of the log and makes it durable.
func (s *Store) write(b *batch) ([]loc, error) {
	if err := s.broken(); err != nil {
		return nil, err
	}
	if s.uncut {
		if err := s.cut(); err != nil {
			return nil, err
		}
	}
	g := s.active
	filled := g.end > segmentHeader && g.end+int64(len(b.buf)) > s.segmentBytes
	if filled || s.next != nil {
		if err := s.roll(); err != nil {
			return nil, err
		}
		g = s.active
	}
	if b.files {
		if err := s.fs.SyncDir(s.files); err != nil {
			return nil, s.unsynced(err)
		}
	}
	locs := make([]loc, len(b.ops))
	for i := range b.ops {
		o := &b.ops[i]
		var h header
		p := b.buf[o.at:]
		h.parse(p)
		h.mark, h.segment, h.seq, h.batch = s.mark, g.number, s.seq, uint32(i)
		h.put(p)
		o.seq = s.seq
		s.seq++
		locs[i] = loc{g.number, uint32((g.end + int64(o.at)) / alignment), h.meta}
	}
	length := len(b.buf)
	// The zeros mark the end of the log where a file is used again.
	b.buf = append(b.buf, make([]byte, headerSize)...)
	err := writeFull(g.file, b.buf, g.end)
	size := max(g.size, g.end+int64(len(b.buf)))
	b.buf = b.buf[:length]
	if err != nil {
		err = fmt.Errorf("filespool: write log: %w", full(err))
	} else {
		if size > g.size {
			size = s.grow(g, size)
		}
		s.resize(g, size)
		if err = g.file.Sync(); err != nil {
			err = s.unsynced(err)
		}
	}
	if errors.Is(err, spool.ErrFailed) {
		return nil, err
	}
	if err != nil {
		// Only this batch is in doubt: all before it was synced.
		s.mu.Lock()
		s.uncut = true
		s.mu.Unlock()
		return nil, errors.Join(err, s.cut())
	}
	s.mu.Lock()
	g.end += int64(length)
	s.mu.Unlock()
	return locs, nil
}

// cut takes a failed batch off the end of the log. Nothing of it may be found
// by the next recovery, which would take it for part of the log, mixed with
// what is written in its place: until it is gone for sure, nothing is.
func (s *Store) cut() error {
	g := s.active
	if err := g.file.Truncate(g.end); err != nil {
		return fmt.Errorf("filespool: cut off a failed batch: %w", full(err))
	}
	s.resize(g, g.end)
	if err := g.file.Sync(); err != nil {
		return s.unsynced(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uncut = false
	s.trash, s.doubtful = append(s.trash, s.doubtful...), nil
	return nil
}

// unsynced judges a sync that failed: nobody knows what the disk holds, and the
// store fails, unless a later one may succeed.
func (s *Store) unsynced(err error) error {
	if passes(err) {
		return fmt.Errorf("filespool: %w", full(err))
	}
	return s.fail(err)
}

// fail makes the store refuse commits from now on.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = fmt.Errorf("filespool: %w: %w", spool.ErrFailed, err)
		s.log.Error("filespool: the store has failed and takes no more messages", "err", err)
	}
	return s.failed
}

// broken returns why the store refuses commits.
func (s *Store) broken() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}
