package filespool

import (
	"bytes"
	"slices"

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

	names   map[string]*route      // by key, packed
	groups  map[spool.Key][]*route // the same, by keys without their streams
	byRoute []*route               // by number; nil is free
	unused  []uint32               // free route numbers
	routes  heap[*route]

	bytes int64 // content
}

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
}

// route is a queue of the deliveries with one key that are not leased.
type route struct {
	key    spool.Key
	name   string // the key, packed
	number uint32
	refs   int // deliveries, leased or not
	at     int // in index.routes; -1 while the queue is empty
	queue  heap[uint32]
}

func newIndex() *index {
	x := &index{
		byID: make(map[spool.ID]uint32), names: make(map[string]*route),
		groups: make(map[spool.Key][]*route),
	}
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

// intern returns the route of a packed key, made if necessary, with one more
// reference.
func (x *index) intern(name []byte) *route {
	r := x.names[string(name)]
	if r != nil {
		r.refs++
		return r
	}
	k := parseKey(string(name))
	packed := packKey(k) // an earlier revision wrote another
	if r = x.names[packed]; r == nil {
		r = &route{key: k, name: packed, at: -1}
		r.queue.less = x.before
		if n := len(x.unused); n > 0 {
			r.number, x.unused = x.unused[n-1], x.unused[:n-1]
			x.byRoute[r.number] = r
		} else {
			r.number = uint32(len(x.byRoute))
			x.byRoute = append(x.byRoute, r)
		}
		x.names[r.name] = r
		x.groups[group(k)] = append(x.groups[group(k)], r)
	}
	r.refs++
	return r
}

func (x *index) release(number uint32) {
	r := x.byRoute[number]
	if r.refs--; r.refs == 0 {
		delete(x.names, r.name)
		x.ungroup(r)
		x.byRoute[number] = nil
		x.unused = append(x.unused, number)
	}
}

// group is a key without its stream.
func group(k spool.Key) spool.Key {
	k.Stream = ""
	return k
}

func (x *index) ungroup(r *route) {
	g := group(r.key)
	list := slices.DeleteFunc(x.groups[g], func(v *route) bool { return v == r })
	if len(list) == 0 {
		delete(x.groups, g)
		return
	}
	x.groups[g] = list
}

// matching calls f for each route that a key of a request stands for.
func (x *index) matching(k spool.Key, f func(*route)) {
	for _, r := range x.groups[group(k)] {
		if k.Stream == "" || k.Stream == r.key.Stream {
			f(r)
		}
	}
}

// queue puts a delivery in the queue of its route.
func (x *index) queue(d uint32) {
	r := x.byRoute[x.deliveries.get(d).route]
	r.queue.push(d)
	if r.at < 0 {
		x.routes.push(r)
	} else {
		x.routes.fix(r.at)
	}
}

// unqueue takes the oldest delivery out of a route.
func (x *index) unqueue(r *route) uint32 {
	at := r.at
	if r.queue.len() == 1 {
		// Its place among the others must be given up while it can still be
		// compared.
		x.routes.remove(at)
		return r.queue.pop()
	}
	d := r.queue.pop()
	if at >= 0 {
		x.routes.fix(at)
	}
	return d
}

// narrow takes all routes but those named out of the order of leasing, until
// widen.
func (x *index) narrow(keys []spool.Key) (others heap[*route]) {
	wanted := make([]*route, 0, len(keys))
	for _, k := range keys {
		x.matching(k, func(r *route) {
			if r.at >= 0 {
				x.routes.remove(r.at)
				wanted = append(wanted, r)
			}
		})
	}
	others, x.routes.items = x.routes, nil
	for _, r := range wanted {
		x.routes.push(r)
	}
	return others
}

func (x *index) widen(others heap[*route]) {
	for _, r := range x.routes.items {
		others.push(r)
	}
	x.routes = others
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
		delivery{due: b.due, message: h, seq: uint32(b.seq), route: r.number, next: m.first},
	)
	m.first = d
	return d
}

// move gives a delivery that is not queued another key and time.
func (x *index) move(d uint32, name []byte, due int64) {
	e := x.deliveries.get(d)
	e.due = due
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

// slab is an array that grows without being copied and reuses what was dropped.
type slab[T any] struct {
	chunks [][]T
	free   []uint32
	used   uint32
}

const slabBits = 12

func (s *slab[T]) get(i uint32) *T { return &s.chunks[i>>slabBits][i&(1<<slabBits-1)] }

func (s *slab[T]) add(v T) uint32 {
	var i uint32
	if n := len(s.free); n > 0 {
		i, s.free = s.free[n-1], s.free[:n-1]
	} else {
		i = s.used
		if i>>slabBits == uint32(len(s.chunks)) {
			s.chunks = append(s.chunks, make([]T, 1<<slabBits))
		}
		s.used++
	}
	*s.get(i) = v
	return i
}

func (s *slab[T]) drop(i uint32) {
	var zero T
	*s.get(i) = zero
	s.free = append(s.free, i)
}

func (s *slab[T]) len() int { return int(s.used) - len(s.free) }
