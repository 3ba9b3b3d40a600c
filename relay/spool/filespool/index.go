package filespool

import (
	"bytes"
	"hash/maphash"
	"math"

	"github.com/postern-mail/postern/relay/spool"
)

// The index keeps what leasing and finding need, and nothing else: entries are
// small, free of pointers, and named by their number. Addresses and content
// stay in the log.
type index struct {
	byID       map[spool.ID]uint32
	messages   slab[message]
	deliveries slab[delivery]
	peak       int // most messages since byID was made

	byRoute slab[route]
	seed    maphash.Seed
	names   map[uint64]uint32 // first of byRoute, by the sum of its packed key
	groups  map[group][]*route
	routes  heap[*route] // that have something in their queues
	less    func(a, b uint32) bool

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
	route   uint32
	next    uint32 // of the same message
	update  loc    // the last update; zero if none is written
	standing
}

func newIndex() *index {
	x := &index{
		byID: make(map[spool.ID]uint32), seed: maphash.MakeSeed(),
		names: make(map[uint64]uint32), groups: make(map[group][]*route),
	}
	x.less = x.before
	x.routes.less = func(a, b *route) bool { return x.before(a.queue.top(), b.queue.top()) }
	x.routes.moved = func(r *route, at int) { r.at = at }
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
	if h, ok := x.byID[id]; ok {
		return h, x.messages.get(h)
	}
	return none, nil
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
	x.byID[m.id] = h
	x.peak = max(x.peak, len(x.byID))
	x.bytes += m.size
	return h
}

// addDelivery enters a delivery that is not queued.
func (x *index) addDelivery(h uint32, b brief) uint32 {
	m := x.messages.get(h)
	r := x.intern(b.key)
	d := x.deliveries.add(
		delivery{
			due: b.due, message: h, seq: uint32(b.seq), route: r.number, next: m.first,
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
		old := e.route
		e.route = x.intern(name).number
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
	x.release(e.route)
	x.deliveries.drop(d)
	if m.first != none {
		return false
	}
	x.bytes -= m.size
	delete(x.byID, m.id)
	x.messages.drop(h)
	x.shrink()
	return true
}

// shrink gives memory back after a long queue has become a short one: neither
// maps nor slabs do so by themselves.
func (x *index) shrink() {
	const worth = 1 << 16
	if len(x.byID) == 0 && x.messages.used > 1<<slabBits {
		x.byID, x.peak = make(map[spool.ID]uint32), 0
		x.messages, x.deliveries = slab[message]{}, slab[delivery]{}
		return
	}
	if x.peak < worth || len(x.byID) > x.peak/8 {
		return
	}
	small := make(map[spool.ID]uint32, len(x.byID))
	for id, h := range x.byID {
		small[id] = h
	}
	x.byID, x.peak = small, len(small)
}
