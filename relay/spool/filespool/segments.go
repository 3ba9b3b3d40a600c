package filespool

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/relay/spool"
)

// openSegments opens the files of the log and finds out the mark.
func (s *Store) openSegments() error {
	numbers, err := s.numbers(segmentSuffix)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		g := &segment{number: n}
		if g.file, err = s.fs.OpenFile(
			filepath.Join(s.dir, segmentName(n)), openWrite,
		); err != nil {
			return err
		}
		s.segments = append(s.segments, g)
		if g.size, err = g.file.Size(); err != nil {
			return err
		}
		if g.size > 1<<34 {
			return fmt.Errorf("filespool: %s is too long", segmentName(n))
		}
		s.logBytes += g.size
		s.byNumber[n] = g
	}
	if err := s.findMark(); err != nil {
		return err
	}
	for i, g := range s.segments {
		var before *segment
		if i > 0 {
			before = s.segments[i-1]
		}
		if err := s.openHeader(g, before); err != nil {
			return err
		}
	}
	return nil
}

// numbers lists the numbered files of the directory with a suffix.
func (s *Store) numbers(suffix string) (list []uint32, err error) {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		n, err := strconv.ParseUint(name, 10, 32)
		if ok && err == nil && numbered(uint32(n), suffix) == e.Name() {
			list = append(list, uint32(n))
		}
	}
	slices.Sort(list)
	return list, nil
}

// openHeader reads the header of a segment, and writes it anew if it is
// damaged. It also tells where the segment before, if there is one, ends.
func (s *Store) openHeader(g, before *segment) error {
	name := segmentName(g.number)
	follows := before != nil && before.number == g.number-1
	if before != nil && !follows {
		s.lose(Damage{File: name, What: "files of the log before this one are missing"}, nil, nil)
	}
	h, ok, err := s.readHeader(g)
	if err != nil {
		return err
	}
	if !ok {
		s.damage(Damage{
			File: name, Bytes: segmentHeader, What: "header of the file is damaged; written anew",
		})
		g.size, g.reused = max(g.size, segmentHeader), true
		g.before = marks{unknown, unknown}
		b := s.segmentHeader(g.number, 0, g.reused, g.before)
		return writeFull(g.file, b[:segmentHeader], 0)
	}
	g.reused, g.before = h.reused, h.marks
	if follows && h.before >= segmentHeader {
		before.end = h.before
	}
	return nil
}

// segmentHead is the header of a segment.
type segmentHead struct {
	mark   uint64
	before int64
	reused bool
	marks  marks
}

func (s *Store) readHeader(g *segment) (h segmentHead, ok bool, err error) {
	b := make([]byte, segmentHeader)
	if n, err := g.file.ReadAt(b, 0); n < len(b) {
		if err == io.EOF {
			err = nil
		}
		return h, false, err
	}
	if string(b[:8]) != segmentMagic || binary.LittleEndian.Uint32(b[60:]) != sum(b[:60]) ||
		binary.LittleEndian.Uint32(b[8:]) != g.number {
		return h, false, nil
	}
	return segmentHead{
		mark:   binary.LittleEndian.Uint64(b[16:]),
		before: int64(binary.LittleEndian.Uint64(b[24:])),
		reused: b[12] != 0,
		marks: marks{
			events: spool.Cursor(binary.LittleEndian.Uint64(b[32:])),
			claims: spool.Cursor(binary.LittleEndian.Uint64(b[40:])),
		},
	}, true, nil
}

// findMark learns the mark from the segments. If no header is whole a record
// may be; a file with neither is put aside.
func (s *Store) findMark() error {
	for _, g := range s.segments {
		h, ok, err := s.readHeader(g)
		if err != nil {
			return err
		}
		if ok {
			s.mark = h.mark
			return nil
		}
	}
	for i := 0; s.mark == 0 && i < len(s.segments); i++ {
		g := s.segments[i]
		v := &scan{file: g.file, number: g.number, limit: g.size, ahead: windowBytes}
		for off := int64(0); off < g.size && v.err == nil; off += alignment {
			var h header
			if h.parse(v.window(off, headerSize)) && h.segment == g.number {
				s.mark = h.mark
				break
			}
		}
		if v.err != nil {
			return v.err
		}
	}
	if s.mark != 0 {
		return nil
	}
	for _, g := range s.segments {
		name := filepath.Join(s.dir, segmentName(g.number))
		g.file.Close()
		d := Damage{
			File: segmentName(g.number), Bytes: g.size, What: "not a file of the log; renamed",
			Saved: segmentName(g.number) + savedSuffix,
		}
		s.lose(d, nil, nil)
		if err := s.fs.Rename(name, name+savedSuffix); err != nil {
			return err
		}
	}
	s.segments, s.logBytes = nil, 0
	clear(s.byNumber)
	for s.mark == 0 {
		var b [8]byte
		rand.Read(b[:])
		s.mark = binary.LittleEndian.Uint64(b[:])
	}
	return nil
}
