package filespool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	segmentHeader = 64
	segmentMagic  = "POSTERN\x01"
	segmentSuffix = ".log"
	spareName     = "spare"
	// Files grow by this much at a time, filled with zeros: syncing data into
	// blocks that are there already spares the file system its journal.
	growth = 4 << 20
	// A batch that has grown so long makes further commits wait.
	batchLimit = 2 << 20
	// Settlements that cannot be written may gather up to this much before
	// leasing stops.
	unwrittenLimit = 16 << 20
)

// segment is one file of the log.
type segment struct {
	number uint32
	file   file
	end    int64 // where the next record goes
	size   int64 // of the file
	live   int64 // bytes of records that still count
	pins   int   // readers
	reused bool  // the file had other records before
	gone   bool  // to be closed with the last reader
}

func segmentName(number uint32) string { return fmt.Sprintf("%010d%s", number, segmentSuffix) }

// The header of a segment:
//
//	 0  magic   8
//	 8  number  4
//	12  reused  1  the file was one of an earlier segment
//	13  (zero)  3
//	16  mark    8
//	24  before  8  where the segment before this one ends
//	60  sum     4
func (s *Store) segmentHeader(number uint32, before int64, reused bool) []byte {
	b := make([]byte, segmentHeader+headerSize) // with the zeros that tell the end
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], number)
	if reused {
		b[12] = 1
	}
	binary.LittleEndian.PutUint64(b[16:], s.mark)
	binary.LittleEndian.PutUint64(b[24:], uint64(before))
	binary.LittleEndian.PutUint32(b[60:], sum(b[:60]))
	return b
}

// roll starts the next segment, in the file of a dead one if there is one. What
// fails for now is taken up again by the next call.
func (s *Store) roll() error {
	s.spareMu.Lock()
	defer s.spareMu.Unlock()
	// It is not known under which name the spare file is found after a failed
	// sync.
	if err := s.broken(); err != nil {
		return err
	}
	if s.next == nil {
		g, err := s.prepare()
		if err != nil {
			return err
		}
		s.next = g
	}
	g := s.next
	if err := s.fs.SyncDir(s.dir); err != nil {
		return s.unsynced(err)
	}
	f, err := s.fs.OpenFile(filepath.Join(s.dir, segmentName(g.number)), openWrite)
	if err != nil {
		return full(err)
	}
	g.file, s.next = f, nil
	s.mu.Lock()
	s.active = g
	s.segments = append(s.segments, g)
	s.byNumber[g.number] = g
	s.logBytes += g.size
	s.mu.Unlock()
	return nil
}

// prepare writes the header of the next segment and gives the file its name.
// From then on nothing may be added to the segment before.
func (s *Store) prepare() (*segment, error) {
	var number uint32 = 1
	var before int64
	if s.active != nil {
		number, before = s.active.number+1, s.active.end
	}
	// Until the name is durable, the file is still a segment after a crash.
	if s.unnamed {
		if err := s.fs.SyncDir(s.dir); err != nil {
			return nil, s.unsynced(err)
		}
		s.unnamed = false
	}
	spare := filepath.Join(s.dir, spareName)
	f, err := s.fs.OpenFile(spare, openCreate)
	if err != nil {
		return nil, full(err)
	}
	size, err := f.Size()
	if err == nil {
		err = writeFull(f, s.segmentHeader(number, before, size > 0), 0)
	}
	if err != nil {
		f.Close()
		return nil, full(err)
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return nil, s.unsynced(err)
	}
	// Windows renames no open file.
	if err := f.Close(); err != nil {
		return nil, full(err)
	}
	if err := s.fs.Rename(spare, filepath.Join(s.dir, segmentName(number))); err != nil {
		return nil, full(err)
	}
	return &segment{
		number: number, end: segmentHeader, size: max(size, segmentHeader+headerSize),
	}, nil
}

// op is one record of a batch.
type op struct {
	at, size int // in the batch
	// keep tells that the record is written again if the batch fails.
	keep bool
	// done is called with the store locked when the fate of the record is
	// known.
	done func(at loc, err error)
}

// batch gathers records.
type batch struct {
	buf   []byte
	ops   []op
	files bool          // some content has a new file of its own
	done  chan struct{} // closed when every op is
}

func newBatch(buf []byte) *batch { return &batch{buf: buf[:0], done: make(chan struct{})} }

// record is what goes into a batch.
type record struct {
	kind       byte
	meta       []byte
	content    [2][]byte
	contentSum uint32
	keep       bool
	done       func(at loc, err error)
}

// add appends a record; what is missing in its header is known when it is
// written.
func (b *batch) add(r *record) {
	h := header{
		kind: r.kind, version: version,
		meta: uint32(len(r.meta)), content: uint32(len(r.content[0]) + len(r.content[1])),
		metaSum: sum(r.meta), contentSum: r.contentSum,
	}
	at := len(b.buf)
	b.buf = append(b.buf, make([]byte, headerSize)...)
	h.put(b.buf[at:])
	b.buf = append(b.buf, r.meta...)
	b.buf = append(b.buf, r.content[0]...)
	b.buf = append(b.buf, r.content[1]...)
	size := int(h.size())
	b.buf = append(b.buf, make([]byte, at+size-len(b.buf))...)
	b.ops = append(b.ops, op{at: at, size: size, keep: r.keep, done: r.done})
}

// kept returns the records that outlive a failed batch.
func (b *batch) kept(next *batch) *batch {
	k := newBatch(nil)
	for _, v := range []*batch{b, next} {
		for _, o := range v.ops {
			if v == b && !o.keep {
				continue
			}
			at := len(k.buf)
			k.buf = append(k.buf, v.buf[o.at:o.at+o.size]...)
			o.at = at
			k.ops = append(k.ops, o)
		}
	}
	k.files, k.done = next.files, next.done
	return k
}

// enqueue adds a record to the batch at hand and returns that batch. The caller
// holds the lock.
func (s *Store) enqueue(r *record, urgent bool) *batch {
	s.batch.add(r)
	if urgent {
		s.wake()
	} else if !s.flushing {
		s.flushing = true
		s.timer.Reset(s.delay)
	}
	return s.batch
}

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
			return
		}
		s.mu.Lock()
		b := s.batch
		s.flushing = false
		if len(b.ops) == 0 {
			s.mu.Unlock()
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
	for i, o := range b.ops {
		o.done(locs[i], nil)
	}
	clean := s.wantsCleaning()
	s.mu.Unlock()
	close(b.done)
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
	for i, o := range b.ops {
		var h header
		p := b.buf[o.at:]
		h.parse(p)
		h.mark, h.segment, h.seq, h.batch = s.mark, g.number, s.seq, uint32(i)
		h.put(p)
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

// resize notes how long the file of a segment is.
func (s *Store) resize(g *segment, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logBytes += size - g.size
	g.size = size
}

// grow fills a file with zeros ahead of the log and returns its size. It need
// not succeed.
func (s *Store) grow(g *segment, size int64) int64 {
	for to := min(size+growth, s.segmentBytes); size < to; {
		n := min(to-size, int64(len(s.zeros)))
		if writeFull(g.file, s.zeros[:n], size) != nil {
			// What was written of them are zeros: they do no harm.
			if n, err := g.file.Size(); err == nil {
				return max(n, size)
			}
			return size
		}
		size += n
	}
	return size
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

// pin keeps a segment readable. The caller holds the lock.
func (s *Store) pin(number uint32) *segment {
	g := s.byNumber[number]
	g.pins++
	return g
}

func (s *Store) unpin(g *segment) {
	s.mu.Lock()
	g.pins--
	last := g.gone && g.pins == 0
	s.mu.Unlock()
	if last {
		g.file.Close()
	}
}

// lives and dead count the bytes of records. The caller holds the lock.
func (s *Store) lives(number uint32, n int64) {
	s.byNumber[number].live += n
	s.live += n
}

func (s *Store) dead(number uint32, n int64) { s.lives(number, -n) }
