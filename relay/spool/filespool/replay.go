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

// replay reads one segment into the index.
type replay struct {
	s    *Store
	g    *segment
	v    *scan
	last bool // of the segments
	// short tells that the file was longer once.
	short bool

	// The records of the last batch of the log are held back until it is known
	// to be whole: if it is not, it was never acknowledged, and what follows
	// the first fault in it must not outlive what came before.
	batch            []heldBack
	bodies           []byte   // of these
	first            uint64   // record of the batch
	torn             int64    // where something of the batch is missing, or -1
	passed, suspects []region // before the record to come; in the batch held back
}

// heldBack is a record of the last batch.
type heldBack struct {
	found
	torn bool // what came before it in its batch is not whole
}

func (s *Store) replay(g *segment, last bool) error {
	p := &replay{s: s, g: g, last: last, torn: -1}
	p.begin()
	for {
		before := p.v.seq
		r, ok := p.v.next()
		if !ok {
			break
		}
		if last {
			p.holdBack(r, before)
			continue
		}
		p.report(&p.passed)
		p.enter(&r)
	}
	return p.end()
}

func (p *replay) name() string { return segmentName(p.g.number) }

// begin prepares the scan.
func (p *replay) begin() {
	s, g := p.s, p.g
	v := &scan{
		file: g.file, mark: s.mark, number: g.number, limit: g.size, reused: g.reused, seq: s.seq,
	}
	if !p.last && g.end > 0 {
		if g.end > g.size {
			s.lose(Damage{
				File: p.name(), Offset: g.size, Bytes: g.end - g.size,
				What: "end of the file is missing",
			}, nil, nil)
			p.short = true
		}
		v.limit, v.exact = min(g.end, g.size), true
	}
	v.damaged = func(from, to int64, what string, h *header) {
		p.passed = append(p.passed, region{from, to, what, h})
	}
	v.mended = func(from, to int64) {
		s.damage(Damage{
			File: p.name(), Offset: from, Bytes: to - from, What: "one wrong byte in a record",
			Mended: true,
		})
	}
	p.v = v
}

// report makes known what was passed over.
func (p *replay) report(rs *[]region) {
	for _, r := range *rs {
		p.s.breakLedgers()
		d := Damage{
			File: p.name(), Offset: r.from, Bytes: r.to - r.from, What: r.what + "; passed over",
			Saved: p.s.save(p.g, r.from, r.to),
		}
		if r.h == nil || r.h.kind == kindCommit {
			p.s.lose(d, p.g, r.h)
		} else {
			p.s.damage(d)
		}
	}
	*rs = nil
}

// enter enters a record in the index.
func (p *replay) enter(r *found) {
	if !p.s.apply(p.g, r) {
		p.report(&[]region{{r.at, r.at + r.size(), "record with unknown content", &r.header}})
	}
}

// holdBack takes a record of the last segment; before is the number of the
// record before it.
func (p *replay) holdBack(r found, before uint64) {
	begin := r.seq - uint64(r.batch)
	if begin != p.first {
		// A later batch was begun, so the one before was whole once.
		for i := range p.batch {
			p.enter(&p.batch[i].found)
		}
		p.batch, p.bodies = p.batch[:0], p.bodies[:0]
		p.report(&p.suspects)
		p.torn, p.first = -1, begin
	}
	// Something of this very batch is missing before r.
	if len(p.passed) > 0 && r.batch > 0 && before < r.seq-1 {
		at := firstOf(begin, p.passed)
		if p.torn < 0 {
			p.torn = p.passed[at].from
		}
		p.suspects = append(p.suspects, p.passed[at:]...)
		p.passed = p.passed[:at]
	}
	p.report(&p.passed)
	at := len(p.bodies)
	p.bodies = append(p.bodies, r.body...)
	r.body = p.bodies[at:]
	p.batch = append(p.batch, heldBack{found: r, torn: p.torn >= 0})
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

// end judges what is behind the last record.
func (p *replay) end() error {
	s, g, v := p.s, p.g, p.v
	s.recovery.Read += v.read
	if v.err != nil {
		return fmt.Errorf("filespool: read %s: %w", p.name(), v.err)
	}
	if v.later {
		return fmt.Errorf("filespool: %s was written by a later version", p.name())
	}
	p.report(&p.passed)
	g.end = v.at
	s.seq = v.seq
	if p.last {
		return p.endLog()
	}
	if v.tail {
		s.lose(Damage{
			File: p.name(), Offset: v.at, Bytes: v.limit - v.at, What: "end of the file is damaged",
			Saved: s.save(g, v.at, v.limit),
		}, nil, nil)
	}
	if v.tail || p.short {
		s.breakLedgers()
	}
	return nil
}

// endLog enters the batch held back, as far as it is whole, and cuts off the
// rest.
func (p *replay) endLog() error {
	whole, err := p.enterWhole()
	switch {
	case err != nil:
		return err
	case whole < len(p.batch):
		at := p.torn
		if r := p.batch[whole]; !r.torn {
			at = r.at
		}
		return p.cut(at, fmt.Sprintf("batch not whole, %d records cut off", len(p.batch)-whole))
	case p.v.tail:
		return p.cut(p.v.at, "record not whole")
	}
	return nil
}

// enterWhole enters the records of the batch up to the first that is not whole,
// and returns how many these are.
func (p *replay) enterWhole() (int, error) {
	var buf []byte
	for i := range p.batch {
		r := &p.batch[i]
		if r.torn {
			return i, nil
		}
		n, end := int(r.content), int(r.size()-headerSize)-int(r.meta)
		buf = slices.Grow(buf[:0], end+behind)[:end+behind]
		at := r.at + headerSize + int64(r.meta)
		k, err := p.g.file.ReadAt(buf, at)
		p.s.recovery.Read += int64(k)
		if err != nil && err != io.EOF {
			return i, err
		}
		if k < n {
			return i, nil
		}
		// One wrong byte is damage, which whoever reads the content is told of.
		_, bits, ok := wrongWritten(buf[:k], n, r.contentSum)
		if !ok || bits != 0 && (hollow(buf[:n], at) ||
			p.g.reused && !p.wentOn(buf[min(end, k):k])) {
			return i, nil
		}
		p.enter(&r.found)
	}
	return len(p.batch), nil
}

// sector is what a disk writes as a whole, at least.
const sector = 512

// hollow tells whether a sector of b, which lies at off, is zeros, or what b
// has of it, unless that is one byte: so it looks after a write of which a part
// is missing. Of long content that is not whole, a checksum takes some byte for
// the only wrong one all the same, once in some hundred times.
func hollow(b []byte, off int64) bool {
	for len(b) > 0 {
		n := min(sector-int(off%sector), len(b))
		if n > 1 && len(bytes.TrimRight(b[:n], "\x00")) == 0 {
			return true
		}
		b, off = b[n:], off+int64(n)
	}
	return false
}

// wentOn tells whether b, which follows a record in a file that is used again,
// was written: zeros, or the header of another one. If the write ended before,
// something else is left there, and the wrong byte of the record is of that as
// well.
func (p *replay) wentOn(b []byte) bool {
	var h header
	h.parse(append(b, make([]byte, headerSize)...))
	return h.mark == p.v.mark && h.segment == p.g.number || len(bytes.Trim(b, "\x00")) == 0
}

// cut takes what is not whole off the end of the log.
func (p *replay) cut(at int64, what string) error {
	g := p.g
	g.end = at
	end, err := dataEnd(g.file, at, g.size)
	if err != nil {
		return err
	}
	p.s.damage(Damage{
		File: p.name(), Offset: at, Bytes: end - at, What: what, Torn: true,
		Saved: p.s.save(g, at, end),
	})
	if err := g.file.Truncate(at); err != nil {
		return err
	}
	if err := g.file.Sync(); err != nil {
		return err
	}
	p.s.logBytes -= g.size - at
	g.size = at
	return nil
}
