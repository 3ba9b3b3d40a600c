package filespool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/postern-mail/postern/relay/spool"
)

// Damage is one place where the store was not as it should be.
type Damage struct {
	// File is the name within the directory.
	File string
	// Offset and Bytes tell the place and its length.
	Offset, Bytes int64
	// What says what was wrong and what was done.
	What string
	// Saved is the name, within the directory, of a copy of what was found
	// there. Empty without one. Such a file is the operator's to look at and to
	// remove.
	Saved string
	// Torn tells that it is the end of the log, as it looks when the machine or
	// the process stopped while writing: nothing that was acknowledged is lost.
	Torn bool
	// Mended tells that one byte was wrong, and which: nothing is lost.
	Mended bool
}

// err returns the damage as an error of reading.
func (d *Damage) err() error {
	saved := ""
	if d.Saved != "" {
		saved = "; saved as " + d.Saved
	}
	return fmt.Errorf("%w: %s, %d bytes at %d: %s%s",
		ErrDamaged, d.File, d.Bytes, d.Offset, d.What, saved)
}

// attrs are what the log says of it.
func (d *Damage) attrs() []any {
	list := []any{"file", d.File, "offset", d.Offset, "bytes", d.Bytes, "what", d.What}
	if d.Saved != "" {
		list = append(list, "saved", d.Saved)
	}
	return list
}

const savedSuffix = ".damaged"

// wrongByte finds the byte of p that is wrong, and which of its bits, if p has
// the checksum want but for one byte: a checksum tells which that is. No bits
// are wrong if p is as it should be.
func wrongByte(p []byte, want uint32) (at int, bits byte, ok bool) {
	s := sum(p) ^ want // what the wrong byte has done to the checksum
	if s == 0 {
		return 0, 0, true
	}
	table := castagnoli()
	for at := len(p) - 1; at >= 0; at-- {
		// Go back by one byte: the upper bits of an entry are those of no
		// other.
		e := 0
		for table[e]>>24 != s>>24 {
			e++
		}
		s ^= table[e]
		if s == 0 {
			return at, byte(e), true
		}
		s = s<<8 | uint32(e)
	}
	return 0, 0, false
}

// wrongWritten is wrongByte for the first n bytes of b, which may not have been
// written to their end. That leaves zeros: no byte is taken for wrong that is
// zero with all of b that follows.
func wrongWritten(b []byte, n int, want uint32) (at int, bits byte, ok bool) {
	at, bits, ok = wrongByte(b[:n], want)
	if bits != 0 && len(bytes.TrimRight(b[at:], "\x00")) == 0 {
		return 0, 0, false
	}
	return at, bits, ok
}

// mend tells whether p has the checksum want, if need be after putting right
// the one byte that was wrong.
func mend(p []byte, want uint32) bool {
	at, bits, ok := wrongByte(p, want)
	return ok && putRight(p, at, bits)
}

// mendWritten is mend for what may not have been written to its end, as
// wrongWritten is told of it.
func mendWritten(b []byte, n int, want uint32) bool {
	at, bits, ok := wrongWritten(b, n, want)
	return ok && putRight(b[:n], at, bits)
}

// mendMost is the length up to which a checksum names no other byte than the
// wrong one: where two bytes change it in the same way, they are at least
// 190,235 bytes apart.
const mendMost = 190_000

// putRight changes the bits of a byte, unless p is so long that another may be
// the one that is wrong.
func putRight(p []byte, at int, bits byte) bool {
	if bits == 0 {
		return true
	}
	if len(p) > mendMost {
		return false
	}
	p[at] ^= bits
	return true
}

// sealed is the checksum of what ends with its own.
func sealed() uint32 { return sum(make([]byte, 4)) }

// mendSealed is mend for what ends with its own checksum.
func mendSealed(b []byte) bool { return mend(b, sealed()) }

// save keeps a copy of a part of a file of the log beside it. It returns the
// name of the copy, or nothing if it could not be made.
func (s *Store) save(g *segment, from, to int64) string {
	name := fmt.Sprintf("%010d-%d%s", g.number, from, savedSuffix)
	return s.keep(g.file, from, to, segmentName(g.number), name)
}

// keep copies a part of a file to one with the name as, which it returns.
func (s *Store) keep(from file, at, end int64, name, as string) string {
	if end <= at {
		return ""
	}
	f, err := s.fs.OpenFile(filepath.Join(s.dir, as), openNew)
	if errors.Is(err, fs.ErrExist) {
		return as // found before
	}
	if err == nil {
		err = copyRegion(f, from, at, end)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		s.log.Error("filespool: what is damaged could not be saved",
			"file", name, "offset", at, "bytes", end-at, "err", err)
		return ""
	}
	return as
}

func copyRegion(to, from file, at, end int64) error {
	buf := make([]byte, windowBytes)
	for off := int64(0); at < end; {
		n, err := from.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
		if err != nil && err != io.EOF {
			return err
		}
		if n == 0 {
			return nil
		}
		if err := writeFull(to, buf[:n], off); err != nil {
			return err
		}
		at, off = at+int64(n), off+int64(n)
	}
	return nil
}

// loss is damage that may have taken a message along.
type loss struct {
	Damage
	at      loc // of its record, if it is known to be one
	content uint32
	seqs    []int // of the deliveries that are not settled, as far as known
}

// lose notes damage that may have taken a message along; h is the header of its
// record, if that is whole. It stands for a message, which is leased as damaged
// and settled like any other: then the log says that it was made known.
func (s *Store) lose(d Damage, g *segment, h *header) {
	s.damage(d)
	id := spool.DeriveID(spool.ID{}, fmt.Sprintf("%x/%s/%d", s.mark, d.File, d.Offset))
	l := &loss{Damage: d, seqs: []int{0}}
	if h != nil {
		l.at, l.content = loc{g.number, uint32(d.Offset / alignment), h.meta}, h.content
		if v, seqs := g.guessIDs(l.at); len(seqs) > 0 {
			id, l.seqs = v, seqs
		}
	}
	if _, m := s.index.find(id); m == nil { // or else there is another copy
		s.lost[id] = l
	}
}

// guess reads what a damaged record seems to say.
func (g *segment) guess(l loc) (m spool.Message, ds []spool.Delivery, ok bool) {
	m, _, ds, ok = decodeCommit(g.raw(l))
	return m, ds, ok && !m.ID.IsZero() && len(ds) > 0
}

// guessIDs reads the ids of a damaged record. They stand in front: what comes
// behind them may make no sense.
func (g *segment) guessIDs(l loc) (id spool.ID, seqs []int) {
	if m, ds, ok := g.guess(l); ok {
		for _, d := range ds {
			seqs = append(seqs, d.ID.Seq)
		}
		slices.Sort(seqs)
		return m.ID, slices.Compact(seqs)
	}
	d := decoder{b: g.raw(l)}
	id = d.head().id
	if n := d.count(leastDelivery); !id.IsZero() {
		for seq := range n {
			seqs = append(seqs, seq)
		}
	}
	return id, seqs
}

// raw reads the meta part of a record, whatever is in it.
func (g *segment) raw(l loc) []byte {
	b := make([]byte, l.meta)
	if _, err := g.file.ReadAt(b, l.at()+headerSize); err != nil {
		return nil
	}
	return b
}

// found forgets a loss, or a delivery of it, that is none any more.
func (s *Store) found(id spool.ID, seq int) {
	if l := s.lost[id]; l != nil {
		l.seqs = slices.DeleteFunc(l.seqs, func(n int) bool { return n == seq })
		if len(l.seqs) == 0 {
			delete(s.lost, id)
		}
	}
}

// addLost enters in the index what has not been made known yet.
func (s *Store) addLost() {
	for id, l := range s.lost {
		m := message{id: id, loc: l.at, content: l.content}
		if l.at.isZero() {
			m.loc.segment = s.active.number
			for _, g := range s.segments {
				if segmentName(g.number) == l.File {
					m.loc.segment = g.number // which stays meanwhile
				}
			}
		}
		h := s.index.add(m)
		for _, seq := range l.seqs {
			s.index.addDelivery(h, brief{seq: seq})
		}
	}
}

// damagedEnvelope makes known that the record of a message cannot be read any
// more, and saves it.
func (s *Store) damagedEnvelope(p *pick) *Damage {
	at := p.message.at()
	d := &Damage{
		File: segmentName(p.segment.number), Offset: at, Bytes: p.record,
		What:  "record of a message with a wrong checksum",
		Saved: s.save(p.segment, at, at+p.record),
	}
	s.log.Error("filespool: damage", append(d.attrs(), "queue_id", p.id.Message)...)
	return d
}

// spoil makes known, once, that the content of a message is damaged. Its file
// stays when the message is finished.
func (s *Store) spoil(id spool.ID, what string, save func() string) {
	s.mu.Lock()
	_, known := s.spoiled[id]
	_, m := s.index.find(id)
	if m == nil || known || s.closed {
		s.mu.Unlock()
		return
	}
	s.spoiled[id] = struct{}{}
	at, record := m.loc, m.record()
	s.mu.Unlock()
	d := Damage{File: segmentName(at.segment), Offset: at.at(), Bytes: record, What: what}
	if save != nil {
		d.Saved = save()
	}
	s.log.Error("filespool: damage", append(d.attrs(), "queue_id", id)...)
}
