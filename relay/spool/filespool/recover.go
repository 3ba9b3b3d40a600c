package filespool

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/spool"
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

// scan reads the records of a segment in order, each header and meta part and
// no content. What is not a whole record is passed over.
type scan struct {
	file   file
	mark   uint64
	number uint32
	limit  int64  // where the records end, or the file
	exact  bool   // limit is where the records end
	reused bool   // leftovers may lie behind the records
	seq    uint64 // of the last record
	// damaged is told of what was passed over, with the header of a record if
	// that is whole; mended of a record with one wrong byte.
	damaged func(from, to int64, what string, h *header)
	mended  func(from, to int64)

	at    int64 // the next record
	err   error // of reading
	later bool  // a record of a later version was found
	tail  bool  // what follows the last record is not nothing
	read  int64

	buf   []byte // a window of the file
	start int64
	ahead int
}

// found is a record.
type found struct {
	header
	at   int64
	body []byte // the meta part, valid until the next call
}

const windowBytes = 64 << 10

// window returns n bytes at off, fewer where the limit comes before.
func (v *scan) window(off int64, n int) []byte {
	n = int(min(int64(n), v.limit-off))
	if n <= 0 || v.err != nil {
		return nil
	}
	if off < v.start || off+int64(n) > v.start+int64(len(v.buf)) {
		want := int(min(int64(max(n, v.ahead)), v.limit-off))
		v.buf = slices.Grow(v.buf[:0], want)[:want]
		v.start = off
		k, err := v.file.ReadAt(v.buf, off)
		v.read += int64(k)
		if k < want && err != nil && err != io.EOF {
			v.err = err
		}
		v.buf = v.buf[:k]
		n = min(n, k)
	}
	i := off - v.start
	return v.buf[i : i+int64(n)]
}

// header reads the header at off and tells whether it is one of this segment's.
func (v *scan) header(off int64) (h header, ok bool) {
	ok = h.parse(v.window(off, headerSize)) && h.mark == v.mark && h.segment == v.number &&
		h.seq > v.seq && h.size() <= v.limit-off
	if ok && h.version != version {
		v.later = true
		return h, false
	}
	return h, ok
}

// mendHeader puts right one wrong byte of the header at off.
func (v *scan) mendHeader(off int64) bool {
	var h header
	b := v.window(off, headerSize)
	return len(b) == headerSize && !h.parse(b) && mendHeader(b)
}

// next returns the next whole record.
func (v *scan) next() (found, bool) {
	if v.at == 0 {
		v.at = segmentHeader
	}
	if v.ahead == 0 {
		v.ahead = windowBytes
	}
	for v.at < v.limit && v.err == nil && !v.later {
		mended := v.mendHeader(v.at)
		h, ok := v.header(v.at)
		what, whole := "not a record", (*header)(nil)
		if ok {
			body := v.window(v.at+headerSize, int(h.meta))
			mended = mended || sum(body) != h.metaSum
			if len(body) == int(h.meta) && mend(body, h.metaSum) {
				if mended && v.mended != nil {
					v.mended(v.at, v.at+h.size())
				}
				r := found{header: h, at: v.at, body: body}
				v.at += h.size()
				v.seq = h.seq
				// Past long content it is cheaper to read little than to read
				// on.
				v.ahead = windowBytes
				if h.content > 4<<10 {
					v.ahead = 1 << 10
				}
				return r, true
			}
			what, whole = "record with a wrong checksum", &h
		}
		to := v.search(v.at + alignment)
		if v.err != nil || v.later {
			break
		}
		if whole != nil && (to > v.at+h.size() || to < 0 && v.exact) {
			to = v.at + h.size() // where the next one begins, damaged as well
		}
		if to < 0 {
			v.end(what, whole)
			break
		}
		v.report(v.at, to, what, whole)
		v.at = to
	}
	return found{}, false
}

// search returns where the next whole record is, or -1.
func (v *scan) search(off int64) int64 {
	var mark [8]byte
	binary.LittleEndian.PutUint64(mark[:], v.mark)
	v.ahead = windowBytes
	for off < v.limit && v.err == nil {
		b := v.window(off, len(mark))
		if len(b) < len(mark) {
			return -1
		}
		b = v.buf[off-v.start:]
		i := bytes.Index(b, mark[:])
		if i < 0 {
			off += int64(len(b) - len(mark) + 1)
			continue
		}
		off += int64(i)
		if off%alignment == 0 {
			if h, ok := v.header(off); ok {
				if body := v.window(off+headerSize, int(h.meta)); len(body) == int(h.meta) &&
					sum(body) == h.metaSum {
					return off
				}
			}
			if v.later {
				return -1
			}
		}
		off++
	}
	return -1
}

// end looks at what lies behind the last record.
func (v *scan) end(what string, h *header) {
	if v.exact {
		v.report(v.at, v.limit, what, h)
		return
	}
	// Each batch is followed by zeros as long as a header, unless the file ends
	// there.
	to := v.limit
	if v.reused {
		to = min(v.at+headerSize, to)
	}
	var end int64
	end, v.err = dataEnd(v.file, v.at, to)
	v.tail = end > v.at
}

func (v *scan) report(from, to int64, what string, h *header) {
	if v.damaged != nil {
		v.damaged(from, to, what, h)
	}
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
	for i, g := range s.segments {
		if err := s.replay(g, i == len(s.segments)-1); err != nil {
			return err
		}
	}
	s.seq++
	if err := s.matchFiles(); err != nil {
		return err
	}
	if n := len(s.segments); n > 0 {
		s.active = s.segments[n-1]
	} else if err := s.roll(); err != nil {
		return err
	}
	s.addLost()
	x := s.index
	for _, h := range x.byID {
		m := x.messages.get(h)
		s.lives(m.loc.segment, m.record())
		for d := m.first; d != none; {
			e := x.deliveries.get(d)
			if !e.update.isZero() {
				s.lives(e.update.segment, recordSize(e.update.meta, 0))
			}
			r := x.byRoute[e.route]
			r.queue.items = append(r.queue.items, d)
			d = e.next
		}
	}
	for _, r := range x.byRoute {
		if r != nil {
			r.queue.build()
			x.routes.push(r)
		}
	}
	s.recovery.Segments = len(s.segments)
	s.recovery.Messages = x.messages.len()
	s.recovery.Deliveries = x.deliveries.len()
	s.recovery.Took = time.Since(began)
	return nil
}

// openSegments opens the files of the log and finds out the mark.
func (s *Store) openSegments() error {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		n, err := strconv.ParseUint(name, 10, 32)
		if !ok || err != nil || segmentName(uint32(n)) != e.Name() {
			continue
		}
		f, err := s.fs.OpenFile(filepath.Join(s.dir, e.Name()), openWrite)
		if err != nil {
			return err
		}
		g := &segment{number: uint32(n), file: f}
		s.segments = append(s.segments, g)
		if g.size, err = f.Size(); err != nil {
			return err
		}
		if g.size > 1<<34 {
			return fmt.Errorf("filespool: %s is too long", e.Name())
		}
		s.logBytes += g.size
		s.byNumber[g.number] = g
	}
	slices.SortFunc(s.segments, func(a, b *segment) int {
		return int(int64(a.number) - int64(b.number))
	})

	if err := s.findMark(); err != nil {
		return err
	}
	for i, g := range s.segments {
		name := segmentName(g.number)
		follows := i > 0 && s.segments[i-1].number == g.number-1
		if i > 0 && !follows {
			s.lose(
				Damage{File: name, What: "files of the log before this one are missing"}, nil, nil,
			)
		}
		h, ok, err := s.readHeader(g)
		if err != nil {
			return err
		}
		if !ok {
			s.damage(
				Damage{
					File: name, Bytes: segmentHeader,
					What: "header of the file is damaged; written anew",
				},
			)
			if err := writeFull(
				g.file, s.segmentHeader(g.number, 0, true)[:segmentHeader], 0,
			); err != nil {
				return err
			}
			g.size, g.reused = max(g.size, segmentHeader), true
			continue
		}
		g.reused = h.reused
		if follows && h.before >= segmentHeader {
			s.segments[i-1].end = h.before
		}
	}
	return nil
}

// segmentHead is the header of a segment.
type segmentHead struct {
	mark   uint64
	before int64
	reused bool
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

// dataEnd returns where the zeros at the end of a file begin.
func dataEnd(f file, from, size int64) (int64, error) {
	buf := make([]byte, windowBytes)
	end := from
	for off := from; off < size; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if t := len(bytes.TrimRight(buf[:n], "\x00")); t > 0 {
			end = off + int64(t)
		}
		off += int64(n)
		if err == io.EOF || n == 0 && err == nil {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	return end, nil
}

// apply enters a record in the index and reports whether it could be read.
func (s *Store) apply(g *segment, r *found) bool {
	x := s.index
	at := loc{g.number, uint32(r.at / alignment), r.meta}
	d := &decoder{b: r.body}
	if r.kind == kindCommit {
		h := d.head()
		if !d.bad {
			s.forget(h.id) // a copy made by the cleaner takes the place of the original
			delete(s.lost, h.id)
			n := d.count(leastDelivery)
			e := x.add(
				message{id: h.id, size: h.size, loc: at, content: r.content, own: h.own != nil},
			)
			for range n {
				b := d.brief()
				if d.skipRest(); d.bad {
					break
				}
				x.addDelivery(e, b)
			}
			if m := x.messages.get(e); d.bad || m.first == none ||
				!m.own && m.size != int64(m.content) {
				d.bad = true
				s.forget(h.id)
			}
		}
	}
	if r.kind == kindCommit || r.kind == kindSettle {
		for range d.count(leastSettlement) {
			c := d.change()
			if c.remaining {
				d.skipRest()
			}
			if d.bad {
				break
			}
			_, m := x.find(c.id)
			if m == nil {
				if !c.remaining {
					s.found(c.id, c.seq) // delivered, or made known before
				}
				continue
			}
			h, e := x.delivery(m, c.seq)
			switch {
			case e == nil:
			case c.remaining:
				x.move(h, c.key, c.due)
				e.update = at
			default:
				x.remove(h)
			}
		}
	}
	return !d.bad
}

// forget drops a message that is not queued.
func (s *Store) forget(id spool.ID) {
	h, m := s.index.find(id)
	if m == nil {
		return
	}
	for m.first != none {
		if s.index.remove(m.first) {
			return
		}
	}
	s.index.bytes -= m.size
	delete(s.index.byID, id)
	s.index.messages.drop(h)
}

// matchFiles compares the messages' own files with the index.
func (s *Store) matchFiles() error {
	entries, err := s.fs.ReadDir(s.files)
	if err != nil {
		return err
	}
	sizes := make(map[spool.ID]int64, len(entries))
	for _, e := range entries {
		id, err := spool.ParseID(e.Name())
		if err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return err
		}
		if info.Mode().IsRegular() {
			sizes[id] = info.Size()
		}
	}
	for id, h := range s.index.byID {
		m := s.index.messages.get(h)
		if !m.own {
			continue
		}
		if n, ok := sizes[id]; !ok || n != m.ownSize() {
			s.damage(Damage{
				File: filepath.Join("files", id.String()), Bytes: n,
				What: "content of a message is missing or has another length",
			})
			s.spoiled[id] = struct{}{}
		}
		s.ownBytes += m.ownSize()
		delete(sizes, id)
	}
	// A file without a record was being written, or is of a finished message.
	// Where records were damaged it may be all that is left of one.
	lost := s.recovery.lost()
	for id, n := range sizes {
		if lost {
			s.damage(
				Damage{
					File: filepath.Join("files", id.String()), Bytes: n,
					What: "content without a record; left where it is",
				},
			)
			s.ownBytes += n
			continue
		}
		s.ownBytes += s.drop(id, n)
	}
	return nil
}
