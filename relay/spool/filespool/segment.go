package filespool

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// meta reads the meta part of a record into buf.
func (g *segment) meta(l loc, buf *[]byte) (header, []byte, error) {
	h, b, err := g.read(l, int64(headerSize)+int64(l.meta), buf)
	return h, b, err
}

// read reads the first n bytes of a record into buf and returns what follows
// the header.
func (g *segment) read(l loc, n int64, buf *[]byte) (h header, rest []byte, err error) {
	b := slices.Grow((*buf)[:0], int(n))[:n]
	*buf = b
	if _, err := g.file.ReadAt(b, l.at()); err != nil {
		if err == io.EOF {
			err = ErrDamaged // the file was longer once
		}
		return h, nil, fmt.Errorf("filespool: read log: %w", err)
	}
	rest = b[headerSize:]
	if !(h.parse(b) || mendSealed(b[:headerSize]) && h.parse(b)) || h.segment != g.number ||
		h.meta != l.meta || !mend(rest[:l.meta], h.metaSum) {
		return h, nil, ErrDamaged
	}
	return h, rest, nil
}

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
	// before are the last entries of the ledgers before this segment.
	before marks
}

// numbered is the name of a file of a row.
func numbered(number uint32, suffix string) string { return fmt.Sprintf("%010d%s", number, suffix) }

func segmentName(number uint32) string { return numbered(number, segmentSuffix) }

// The header of a segment:
//
//	 0  magic   8
//	 8  number  4
//	12  reused  1  the file was one of an earlier segment
//	13  (zero)  3
//	16  mark    8
//	24  before  8  where the segment before this one ends
//	32  events  8  the last one in the segments before
//	40  claims  8
//	60  sum     4
func (s *Store) segmentHeader(number uint32, before int64, reused bool, m marks) []byte {
	b := make([]byte, segmentHeader+headerSize) // with the zeros that tell the end
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], number)
	if reused {
		b[12] = 1
	}
	binary.LittleEndian.PutUint64(b[16:], s.mark)
	binary.LittleEndian.PutUint64(b[24:], uint64(before))
	binary.LittleEndian.PutUint64(b[32:], uint64(m.events))
	binary.LittleEndian.PutUint64(b[40:], uint64(m.claims))
	binary.LittleEndian.PutUint32(b[60:], sum(b[:60]))
	return b
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
