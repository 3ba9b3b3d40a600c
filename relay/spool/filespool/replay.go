package filespool

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// region is a part of the log that was passed over.
type region struct {
	from, to int64
	what     string
	h        *header // of a record, if that is whole
}

// firstOf returns where the regions begin that are part of the batch whose
// first record has a number. The last is one of them.
func firstOf(begin uint64, passed []region) int {
	for i, r := range passed {
		if r.h == nil || r.h.seq-uint64(r.h.batch) != begin {
			continue
		}
		if r.h.batch > 0 && i > 0 {
			return i - 1
		}
		return i
	}
	return len(passed) - 1
}

// replay reads one segment into the index.
func (s *Store) replay(g *segment, last bool) error {
	name := segmentName(g.number)
	v := &scan{
		file: g.file, mark: s.mark, number: g.number, limit: g.size, reused: g.reused, seq: s.seq,
	}
	if !last && g.end > 0 {
		if g.end > g.size {
			s.lose(Damage{
				File: name, Offset: g.size, Bytes: g.end - g.size,
				What: "end of the file is missing",
			}, nil, nil)
			defer s.breakLedgers()
		}
		v.limit, v.exact = min(g.end, g.size), true
	}

	// The records of the last batch of the log are held back until it is known
	// to be whole: if it is not, it was never acknowledged, and what follows
	// the first fault in it must not outlive what came before.
	type held struct {
		found
		torn bool // what came before it in its batch is not whole
	}
	var batch []held
	var passed, suspects []region // before the record to come; in the batch held back
	report := func(rs *[]region) {
		if len(*rs) > 0 {
			s.breakLedgers()
		}
		for _, r := range *rs {
			d := Damage{
				File: name, Offset: r.from, Bytes: r.to - r.from, What: r.what + "; passed over",
				Saved: s.save(g, r.from, r.to),
			}
			if r.h == nil || r.h.kind == kindCommit {
				s.lose(d, g, r.h)
			} else {
				s.damage(d)
			}
		}
		*rs = nil
	}
	v.damaged = func(from, to int64, what string, h *header) {
		passed = append(passed, region{from, to, what, h})
	}
	v.mended = func(from, to int64) {
		s.damage(Damage{
			File: name, Offset: from, Bytes: to - from, What: "one wrong byte in a record",
			Mended: true,
		})
	}
	enter := func(r *found) {
		if !s.apply(g, r) {
			report(&[]region{{r.at, r.at + r.size(), "record with unknown content", &r.header}})
		}
	}
	apply := func() {
		for _, r := range batch {
			enter(&r.found)
		}
		batch = batch[:0]
	}
	var first uint64 // of the batch
	torn := int64(-1)
	for {
		before := v.seq
		r, ok := v.next()
		if !ok {
			break
		}
		if !last {
			report(&passed)
			enter(&r)
			continue
		}
		begin := r.seq - uint64(r.batch)
		if begin != first {
			// A later batch was begun, so the one before was whole once.
			apply()
			report(&suspects)
			torn, first = -1, begin
		}
		// Something of this very batch is missing before r.
		if len(passed) > 0 && r.batch > 0 && before < r.seq-1 {
			at := firstOf(begin, passed)
			if torn < 0 {
				torn = passed[at].from
			}
			suspects = append(suspects, passed[at:]...)
			passed = passed[:at]
		}
		report(&passed)
		r.body = bytes.Clone(r.body)
		batch = append(batch, held{found: r, torn: torn >= 0})
	}
	s.recovery.Read += v.read
	if v.err != nil {
		return fmt.Errorf("filespool: read %s: %w", name, v.err)
	}
	if v.later {
		return fmt.Errorf("filespool: %s was written by a later version", name)
	}
	report(&passed)
	g.end = v.at
	s.seq = v.seq
	if !last {
		if v.tail {
			s.lose(Damage{
				File: name, Offset: v.at, Bytes: v.limit - v.at, What: "end of the file is damaged",
				Saved: s.save(g, v.at, v.limit),
			}, nil, nil)
			s.breakLedgers()
		}
		return nil
	}

	cutAt := int64(-1)
	what := "record not whole"
	var buf []byte
	for i, r := range batch {
		if !r.torn {
			n := int64(r.content)
			buf = slices.Grow(buf[:0], int(n))[:n]
			_, err := g.file.ReadAt(buf, r.at+headerSize+int64(r.meta))
			s.recovery.Read += n
			if err != nil && err != io.EOF {
				return err
			}
			// One wrong byte is damage, which whoever reads the content is told
			// of.
			if err == nil && mend(buf, r.contentSum) {
				enter(&r.found)
				continue
			}
			cutAt = r.at
		} else {
			cutAt = torn
		}
		what = fmt.Sprintf("batch not whole, %d records cut off", len(batch)-i)
		break
	}
	if cutAt < 0 && v.tail {
		cutAt = v.at
	}
	if cutAt >= 0 {
		g.end = cutAt
		bytes, err := dataEnd(g.file, cutAt, g.size)
		if err != nil {
			return err
		}
		s.damage(Damage{
			File: name, Offset: cutAt, Bytes: bytes - cutAt, What: what, Torn: true,
			Saved: s.save(g, cutAt, bytes),
		})
		if err := g.file.Truncate(cutAt); err != nil {
			return err
		}
		if err := g.file.Sync(); err != nil {
			return err
		}
		s.logBytes -= g.size - cutAt
		g.size = cutAt
	}
	return nil
}
