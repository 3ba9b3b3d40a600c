package filespool

import (
	"bytes"
	"hash/maphash"
	"slices"
	"unique"

	"github.com/postern-mail/postern/relay/spool"
)

// line are the deliveries with one key that wait. There may be as many lines as
// deliveries: a line shares its strings with others, and one delivery needs no
// queue.
type line struct {
	to     *destination
	stream unique.Handle[string]
	rest   *queue // behind the first; nil while there are none
	first  uint32 // delivery; none while nothing waits
	at     int32  // in to.waiting, or in the order of its stream; -1 while it is out
	refs   uint32 // deliveries, waiting or not
	apart  bool   // it is in the order of its stream when it waits
}

// queue are numbers, in the order of a heap.
type queue []uint32

func (l *line) key() spool.Key {
	return spool.Key{
		Route: l.to.route.Value(), Domain: l.to.domain.Value(), Stream: l.stream.Value(),
	}
}

func (x *index) sum(name []byte) uint32 { return uint32(maphash.Bytes(x.seed, name)) }

// named returns the line of a packed key, or none.
func (x *index) named(name []byte) uint32 {
	var scratch [128]byte
	return x.keys.find(x.sum(name), func(n uint32) bool {
		return bytes.Equal(appendPacked(scratch[:0], x.lines.get(n).key()), name)
	})
}

// intern returns the line of a packed key, made if necessary, with one more
// reference.
func (x *index) intern(name []byte) uint32 {
	n := x.named(name)
	if n == none {
		k := parseKey(string(name))
		var scratch [128]byte
		if packed := appendPacked(scratch[:0], k); !bytes.Equal(packed, name) {
			return x.intern(packed) // name is of an earlier revision
		}
		n = x.addLine(k)
		x.keys.add(x.sum(name), n)
	}
	x.lines.get(n).refs++
	return n
}

func (x *index) addLine(k spool.Key) uint32 {
	t := x.destinationOf(k)
	t.lines++
	return x.lines.add(line{to: t, stream: unique.Make(k.Stream), first: none, at: -1})
}

// release takes back a reference to a line.
func (x *index) release(n uint32) {
	l := x.lines.get(n)
	if l.refs--; l.refs > 0 {
		return
	}
	var scratch [128]byte
	x.keys.remove(x.sum(appendPacked(scratch[:0], l.key())), n)
	if l.to.lines--; l.to.lines == 0 {
		delete(x.destinations, l.to.group)
	}
	x.lines.drop(n)
	if x.lines.len() == 0 && x.lines.used > 1<<slabBits { // as in shrink
		x.lines, x.destinations = slab[line]{}, make(map[group]*destination)
	}
}

// push puts a delivery in a line.
func (x *index) push(l *line, d uint32) {
	if l.first == none {
		l.first = d
		return
	}
	if x.before(d, l.first) {
		d, l.first = l.first, d
	}
	if l.rest == nil {
		l.rest = new(queue)
	}
	x.change(l, func(h *heap[uint32]) { h.push(d) })
}

// pop takes the first delivery out of a line.
func (x *index) pop(l *line) uint32 {
	d := l.first
	l.first = none
	if l.rest != nil {
		x.change(l, func(h *heap[uint32]) { l.first = h.pop() })
	}
	return d
}

// change changes what waits behind the first of a line.
func (x *index) change(l *line, f func(h *heap[uint32])) {
	h := heap[uint32]{items: *l.rest, less: x.less}
	f(&h)
	if *l.rest = h.items; len(h.items) == 0 {
		l.rest = nil
	}
}

// queue puts a delivery in its line, unless it is on hold.
func (x *index) queue(d uint32) {
	e := x.deliveries.get(d)
	if e.held() {
		return
	}
	if e.due < x.told && x.sooner != nil {
		x.sooner()
	}
	l := x.lines.get(e.line)
	x.push(l, d)
	if l.at < 0 {
		x.join(e.line)
	} else if l.first == d {
		x.moved(l)
	}
}

// unqueue takes the first delivery out of a line.
func (x *index) unqueue(n uint32) uint32 {
	l := x.lines.get(n)
	if l.rest == nil && l.at >= 0 {
		x.leave(n) // while it can still be compared
	}
	d := x.pop(l)
	if l.at >= 0 {
		x.moved(l)
	}
	return d
}

// take takes a delivery out of its line, wherever it is in it.
func (x *index) take(d uint32) {
	n := x.deliveries.get(d).line
	l := x.lines.get(n)
	if l.first == d {
		x.unqueue(n)
	} else if l.rest != nil {
		if i := slices.Index(*l.rest, d); i >= 0 {
			x.change(l, func(h *heap[uint32]) { h.remove(i) })
		}
	}
}
