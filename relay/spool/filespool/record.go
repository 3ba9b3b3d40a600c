package filespool

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"time"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay/spool"
)

// A record is a header, a meta part and a content part, filled up to a multiple
// of eight bytes. All numbers are little endian.
//
//	 0  mark        8  the same in every record of a store, chosen at random, so
//	                   that no message can contain what looks like a record
//	 8  seq         8  rises through the log
//	16  kind        1
//	17  version     1
//	18  (zero)      2
//	20  meta        4  length
//	24  content     4  length
//	28  metaSum     4  CRC-32C
//	32  contentSum  4  CRC-32C
//	36  segment     4  number of the segment, so that leftovers of a reused file do not count
//	40  batch       4  how many records before this one were written in the same step
//	44  sum         4  CRC-32C of the above
const (
	headerSize = 48
	version    = 1
	alignment  = 8
)

const (
	// a message with its deliveries, and settlements; also a message moved by
	// the cleaner
	kindCommit = 1
	kindSettle = 2 // settlements
	kindClose  = 3 // the store was closed: all before it is complete
)

const maxDiagnostic = 512

// flagDelayed is set in the byte of a recipient's Notify.
const flagDelayed = 0x80

type header struct {
	mark                uint64
	seq                 uint64
	kind, version       byte
	meta, content       uint32
	metaSum, contentSum uint32
	segment, batch      uint32
}

// size is the length of the whole record.
func (h *header) size() int64 { return recordSize(h.meta, h.content) }

func recordSize(meta, content uint32) int64 {
	return (headerSize + int64(meta) + int64(content) + alignment - 1) &^ (alignment - 1)
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func extend(s uint32, p []byte) uint32 { return crc32.Update(s, castagnoli(), p) }

func sum(parts ...[]byte) uint32 {
	var s uint32
	for _, p := range parts {
		s = extend(s, p)
	}
	return s
}

func (h *header) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.mark)
	le.PutUint64(b[8:], h.seq)
	b[16], b[17], b[18], b[19] = h.kind, h.version, 0, 0
	le.PutUint32(b[20:], h.meta)
	le.PutUint32(b[24:], h.content)
	le.PutUint32(b[28:], h.metaSum)
	le.PutUint32(b[32:], h.contentSum)
	le.PutUint32(b[36:], h.segment)
	le.PutUint32(b[40:], h.batch)
	le.PutUint32(b[44:], sum(b[:44]))
}

// parse reads a header and reports whether it is whole.
func (h *header) parse(b []byte) bool {
	if len(b) < headerSize {
		return false
	}
	le := binary.LittleEndian
	*h = header{
		mark: le.Uint64(b[0:]), seq: le.Uint64(b[8:]), kind: b[16], version: b[17],
		meta: le.Uint32(b[20:]), content: le.Uint32(b[24:]),
		metaSum: le.Uint32(b[28:]), contentSum: le.Uint32(b[32:]),
		segment: le.Uint32(b[36:]), batch: le.Uint32(b[40:]),
	}
	return le.Uint32(b[44:]) == sum(b[:44])
}

// The meta part of a commit:
//
//	id, size, flags, [sum of the own file]
//	deliveries: number, then each: seq, key, due, length of the rest, rest
//	settlements: number, then each: id, seq, flags, [key, due, length of the rest, rest]
//	rest of the message, [number of signatures, [stream, report of]]
//
// What the index needs stands in front or can be reached without reading the
// rests.

const (
	flagOwnFile = 1 << iota
	flagUTF8
)

const flagRemaining = 1

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendTime(b []byte, t int64) []byte { return binary.LittleEndian.AppendUint64(b, uint64(t)) }

// nanos is a time as it is kept: nanoseconds since 1970, held within what these
// can express.
func nanos(t time.Time) int64 {
	switch y := t.Year(); {
	case t.IsZero():
		return math.MinInt64
	case y < 1678:
		return math.MinInt64 + 1
	case y > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// appendRest puts a length in front of what f appends.
func appendRest(b []byte, f func([]byte) []byte) []byte {
	at := len(b)
	b = f(append(b, 0, 0, 0, 0))
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

func appendRecipients(b []byte, rs []spool.Recipient) []byte {
	b = binary.AppendUvarint(b, uint64(len(rs)))
	for i := range rs {
		r := &rs[i]
		b = appendString(b, r.Address)
		notify := byte(r.Notify) &^ flagDelayed
		if r.Delayed {
			notify |= flagDelayed
		}
		b = append(b, notify)
		b = appendString(b, r.Original)
		b = appendString(b, r.Status)
		b = appendString(b, cut(r.Diagnostic))
		b = appendString(b, r.Host)
	}
	return b
}

func cut(s string) string {
	if len(s) <= maxDiagnostic {
		return s
	}
	n := maxDiagnostic
	for n > maxDiagnostic-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func appendDelivery(b []byte, d *spool.Delivery) []byte {
	b = binary.AppendUvarint(b, uint64(d.ID.Seq))
	b = appendKey(b, d.Key)
	b = appendTime(b, nanos(d.Due))
	return appendRest(b, func(b []byte) []byte {
		b = appendTime(b, nanos(d.Expires))
		b = binary.AppendUvarint(b, uint64(max(d.Attempts, 0)))
		return appendRecipients(b, d.Recipients)
	})
}

func appendSettlement(b []byte, s *spool.Settlement) []byte {
	b = append(b, s.ID.Message[:]...)
	b = binary.AppendUvarint(b, uint64(s.ID.Seq))
	if len(s.Remaining) == 0 {
		return append(b, 0)
	}
	b = append(b, flagRemaining)
	if s.Key != nil {
		b = appendKey(b, *s.Key)
	} else {
		b = append(b, 0)
	}
	b = appendTime(b, nanos(s.Due))
	return appendRest(b, func(b []byte) []byte {
		b = binary.AppendUvarint(b, uint64(max(s.Attempts, 0)))
		return appendRecipients(b, s.Remaining)
	})
}

func appendSettlements(b []byte, ss []spool.Settlement) []byte {
	b = binary.AppendUvarint(b, uint64(len(ss)))
	for i := range ss {
		b = appendSettlement(b, &ss[i])
	}
	return b
}

// ownFile tells of content in a file of its own.
type ownFile struct {
	size int64
	sum  uint32
}

func appendCommit(
	b []byte, m *spool.Message, own *ownFile, ds []spool.Delivery, ss []spool.Settlement,
) []byte {
	b = append(b, m.ID[:]...)
	b = binary.AppendUvarint(b, uint64(m.Size))
	var flags byte
	if own != nil {
		flags |= flagOwnFile
	}
	if m.UTF8 {
		flags |= flagUTF8
	}
	b = append(b, flags)
	if own != nil {
		b = binary.LittleEndian.AppendUint32(b, own.sum)
	}
	b = binary.AppendUvarint(b, uint64(len(ds)))
	for i := range ds {
		b = appendDelivery(b, &ds[i])
	}
	b = appendSettlements(b, ss)
	b = appendTime(b, nanos(m.Created))
	for _, s := range [...]string{
		m.From, m.EnvelopeID, string(m.Return), string(m.Body),
		m.Origin.Connector, m.Origin.Remote, m.Origin.User,
	} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Labels)))
	for k, v := range m.Labels {
		b = appendString(appendString(b, k), v)
	}
	more := m.Stream != "" || !m.ReportOf.IsZero()
	if m.Signatures > 0 || more {
		b = binary.AppendUvarint(b, uint64(max(m.Signatures, 0)))
	}
	if more {
		b = append(appendString(b, m.Stream), m.ReportOf[:]...)
	}
	return b
}

// decoder reads a meta part. After a fault bad is set and every value is zero.
type decoder struct {
	b   []byte
	s   string // the same as a string, for those who keep parts of it
	at  int
	bad bool
}

func (d *decoder) take(n uint64) (from, to int) {
	if d.bad || n > uint64(len(d.b)-d.at) {
		d.bad = true
		return 0, 0
	}
	from = d.at
	d.at += int(n)
	return from, d.at
}

func (d *decoder) raw(n uint64) []byte {
	from, to := d.take(n)
	return d.b[from:to]
}

func (d *decoder) uvarint() uint64 {
	if d.bad {
		return 0
	}
	v, n := binary.Uvarint(d.b[d.at:])
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.at += n
	return v
}

// count reads the number of things that take up at least size bytes each.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64((len(d.b)-d.at)/size) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) int() int {
	n := d.uvarint()
	if n > math.MaxInt32 {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) byte() byte {
	if b := d.raw(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.raw(4); len(b) == 4 {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) time() int64 {
	if b := d.raw(8); len(b) == 8 {
		return int64(binary.LittleEndian.Uint64(b))
	}
	return 0
}

func (d *decoder) id() (id spool.ID) {
	copy(id[:], d.raw(uint64(len(id))))
	return id
}

func (d *decoder) bytes() []byte { return d.raw(d.uvarint()) }

func (d *decoder) string() string {
	from, to := d.take(d.uvarint())
	return d.s[from:to]
}

func (d *decoder) recipients() []spool.Recipient {
	const least = 6
	n := d.count(least)
	rs := make([]spool.Recipient, n)
	for i := range rs {
		r := &rs[i]
		r.Address = d.string()
		notify := d.byte()
		r.Notify, r.Delayed = spool.Notify(notify&^flagDelayed), notify&flagDelayed != 0
		r.Original = d.string()
		r.Status = d.string()
		r.Diagnostic = d.string()
		r.Host = d.string()
	}
	return rs
}

// head is what stands in front of a message's meta part.
type head struct {
	id   spool.ID
	size int64
	utf8 bool
	own  *ownFile
}

func (d *decoder) head() (h head) {
	h.id = d.id()
	h.size = int64(d.uvarint() & math.MaxInt64)
	flags := d.byte()
	h.utf8 = flags&flagUTF8 != 0
	if flags&flagOwnFile != 0 {
		h.own = &ownFile{sum: d.uint32()}
	}
	return h
}

// brief is what the index keeps of a delivery.
type brief struct {
	seq int
	key []byte
	due int64
}

const leastDelivery, leastSettlement = 14, 18

func (d *decoder) brief() brief {
	return brief{seq: d.int(), key: d.bytes(), due: d.time()}
}

func (d *decoder) skipRest() { d.raw(uint64(d.uint32())) }

// change is what the index needs of a settlement.
type change struct {
	id        spool.ID
	seq       int
	remaining bool
	key       []byte // empty if it stays
	due       int64
}

func (d *decoder) change() change {
	c := change{id: d.id(), seq: d.int(), remaining: d.byte()&flagRemaining != 0}
	if c.remaining {
		c.key, c.due = d.bytes(), d.time()
	}
	return c
}

// message reads the whole meta part of a commit.
func decodeCommit(meta []byte) (m spool.Message, own *ownFile, ds []spool.Delivery, ok bool) {
	d := &decoder{b: meta, s: string(meta)}
	h := d.head()
	m.ID, m.Size, m.UTF8 = h.id, h.size, h.utf8
	ds = make([]spool.Delivery, d.count(leastDelivery))
	for i := range ds {
		v := &ds[i]
		v.ID = spool.DeliveryID{Message: m.ID, Seq: d.int()}
		v.Key = parseKey(d.string())
		v.Due = fromNanos(d.time())
		d.uint32()
		v.Expires = fromNanos(d.time())
		v.Attempts = d.int()
		v.Recipients = d.recipients()
	}
	for range d.count(leastSettlement) {
		if c := d.change(); c.remaining {
			d.skipRest()
		}
	}
	m.Created = fromNanos(d.time())
	for _, s := range [...]*string{
		&m.From, &m.EnvelopeID, (*string)(&m.Return), (*string)(&m.Body),
		&m.Origin.Connector, &m.Origin.Remote, &m.Origin.User,
	} {
		*s = d.string()
	}
	if n := d.count(2); n > 0 {
		m.Labels = make(map[string]string, n)
		for range n {
			k := d.string()
			m.Labels[k] = d.string()
		}
	}
	if d.at < len(d.b) { // unsigned messages and those of earlier versions end here
		m.Signatures = d.int()
	}
	if d.at < len(d.b) {
		m.Stream, m.ReportOf = d.string(), d.id()
	}
	return m, h.own, ds, !d.bad
}

// update is the state that a settlement gave a delivery. Its key is known to
// the index.
type update struct {
	due        int64
	attempts   int
	recipients []spool.Recipient
}

func (u *update) apply(d *spool.Delivery) {
	d.Due, d.Attempts, d.Recipients = fromNanos(u.due), u.attempts, u.recipients
}

// decodeUpdate finds the last update of a delivery in a record.
func decodeUpdate(kind byte, meta []byte, id spool.ID, seq int) (u *update, ok bool) {
	d := &decoder{b: meta, s: string(meta)}
	if kind == kindCommit {
		d.head()
		for range d.count(leastDelivery) {
			d.brief()
			d.skipRest()
		}
	}
	for range d.count(leastSettlement) {
		c := d.change()
		if !c.remaining {
			continue
		}
		end := int(d.uint32()) + d.at
		if c.id == id && c.seq == seq {
			u = &update{due: c.due, attempts: d.int(), recipients: d.recipients()}
		}
		if end < d.at || end > len(d.b) {
			return nil, false
		}
		d.at = end
	}
	return u, u != nil && !d.bad
}
