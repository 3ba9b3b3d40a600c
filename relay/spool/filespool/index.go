package filespool

import (
	"bytes"
	"hash/maphash"
	"math"
	"unique"

	"github.com/postern-mail/postern/relay/spool"
)

// The index keeps what leasing and finding need, and nothing else: entries are
// small, free of pointers, and named by their number. Addresses and content
// stay in the log.
type index struct {
	messages   slab[message]
	ids        table // of the messages
	deliveries slab[delivery]
	lines      slab[line]
	keys       table // of the lines, packed
	seed       maphash.Seed

	// What waits and is wanted is in order, and of some streams in streams.
	destinations map[group]*destination
	order        heap[*destination]
	apart        map[unique.Handle[string]]*apart
	streams      heap[*apart]

	// Of deliveries and of lines.
	less, lineLess func(a, b uint32) bool
	lineMoved      func(n uint32, at int)

	bytes int64 // content

	// told is when whoever leases looks again by himself; sooner is called
	// when he should before that.
	told   int64
	sooner func()
}

// never and always are times that nothing and everything is before.
const (
	never  = math.MinInt64
	always = math.MaxInt64
)

// none is no entry.
const none = ^uint32(0)

// loc is where a record lies.
type loc struct {
	segment uint32
	offset  uint32 // in units of alignment
	meta    uint32 // length
}

func (l loc) at() int64    { return int64(l.offset) * alignment }
func (l loc) isZero() bool { return l == loc{} }

type message struct {
	id      spool.ID
	size    int64
	loc     loc
	content uint32 // bytes in the log
	first   uint32 // its deliveries
	// version changes with every change of the message and its deliveries.
	version uint32
	own     bool // content has a file of its own
}

// ownSize is the length of the message's own file.
func (m *message) ownSize() int64 { return m.size - int64(m.content) }

// record is the size of the message's record.
func (m *message) record() int64 { return recordSize(m.loc.meta, m.content) }

type delivery struct {
	due     int64
	message uint32
	seq     uint32
	line    uint32
	next    uint32 // of the same message
	update  loc    // the last update; zero if none is written
	standing
}

func newIndex() *index {
	x := &index{
		seed: maphash.MakeSeed(), destinations: make(map[group]*destination),
		apart: make(map[unique.Handle[string]]*apart),
	}
	x.less = x.before
	x.lineLess = func(a, b uint32) bool {
		return x.before(x.lines.get(a).first, x.lines.get(b).first)
	}
	x.lineMoved = func(n uint32, at int) { x.lines.get(n).at = int32(at) }
	x.order.less = func(a, b *destination) bool { return x.lineLess(a.waiting[0], b.waiting[0]) }
	x.order.moved = func(t *destination, at int) { t.at = at }
	x.streams.less = func(a, b *apart) bool { return x.lineLess(a.lines.top(), b.lines.top()) }
	x.streams.moved = func(a *apart, at int) { a.at = at }
	return x
}

// before is the order of leasing.
func (x *index) before(a, b uint32) bool {
	d, e := x.deliveries.get(a), x.deliveries.get(b)
	if d.due != e.due {
		return d.due < e.due
	}
	if d.message == e.message {
		return d.seq < e.seq
	}
	m, n := x.messages.get(d.message), x.messages.get(e.message)
	return bytes.Compare(m.id[:], n.id[:]) < 0
}

func (x *index) find(id spool.ID) (uint32, *message) {
	h := x.ids.find(x.sum(id[:]), func(h uint32) bool { return x.messages.get(h).id == id })
	if h == none {
		return none, nil
	}
	return h, x.messages.get(h)
}

// delivery finds a delivery of a message by its number.
func (x *index) delivery(m *message, seq int) (uint32, *delivery) {
	for h := m.first; h != none; {
		d := x.deliveries.get(h)
		if int64(d.seq) == int64(seq) {
			return h, d
		}
		h = d.next
	}
	return none, nil
}

// add enters a message without deliveries.
func (x *index) add(m message) uint32 {
	m.first = none
	h := x.messages.add(m)
	x.ids.add(x.sum(m.id[:]), h)
	x.bytes += m.size
	return h
}

// drop forgets a message that has no deliveries.
func (x *index) drop(h uint32) {
	m := x.messages.get(h)
	x.bytes -= m.size
	x.ids.remove(x.sum(m.id[:]), h)
	x.messages.drop(h)
}

// all calls f for each message.
func (x *index) all(f func(m *message)) {
	for h := range x.messages.used {
		if m := x.messages.get(h); m.loc.segment != 0 { // or else it is a free place
			f(m)
		}
	}
}

// addDelivery enters a delivery that is not queued.
func (x *index) addDelivery(h uint32, b brief) uint32 {
	m := x.messages.get(h)
	d := x.deliveries.add(
		delivery{
			due: b.due, message: h, seq: uint32(b.seq), line: x.intern(b.key), next: m.first,
			standing: b.standing,
		},
	)
	m.first = d
	return d
}

// move gives a delivery that is not queued another key, time and state.
func (x *index) move(d uint32, name []byte, due int64, s standing) {
	e := x.deliveries.get(d)
	e.due, e.standing = due, s
	if len(name) > 0 {
		old := e.line
		e.line = x.intern(name)
		x.release(old)
	}
}

// remove drops a delivery that is not queued, and its message with the last
// one.
func (x *index) remove(d uint32) (gone bool) {
	e := x.deliveries.get(d)
	h := e.message
	m := x.messages.get(h)
	m.version++
	if m.first == d {
		m.first = e.next
	} else {
		p := x.deliveries.get(m.first)
		for p.next != d {
			p = x.deliveries.get(p.next)
		}
		p.next = e.next
	}
	x.release(e.line)
	x.deliveries.drop(d)
	if m.first != none {
		return false
	}
	x.drop(h)
	x.shrink()
	return true
}

// shrink gives memory back after the last of many messages has gone: slabs do
// not by themselves.
func (x *index) shrink() {
	if x.messages.len() == 0 && x.messages.used > 1<<slabBits {
		x.messages, x.deliveries = slab[message]{}, slab[delivery]{}
	}
}
