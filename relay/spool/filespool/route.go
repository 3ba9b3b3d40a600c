package filespool

import (
	"bytes"
	"hash/maphash"
	"slices"
	"unique"

	"github.com/postern-mail/postern/relay/spool"
)

// route is a queue of the deliveries with one key that are not leased. There
// may be as many as deliveries: it shares its strings with others.
type route struct {
	group  group
	stream unique.Handle[string]
	queue  queue
	at     int    // in index.routes; -1 while the queue is empty
	number uint32 // its place in index.byRoute
	refs   uint32 // deliveries, leased or not
	next   uint32 // with the same sum of the key, or none
}

// group is a key without its stream.
type group struct{ route, domain unique.Handle[string] }

func groupOf(k spool.Key) group { return group{unique.Make(k.Route), unique.Make(k.Domain)} }

func (r *route) key() spool.Key {
	return spool.Key{
		Route: r.group.route.Value(), Domain: r.group.domain.Value(), Stream: r.stream.Value(),
	}
}

// queue are deliveries, in the order of a heap.
type queue []uint32

func (q queue) len() int    { return len(q) }
func (q queue) top() uint32 { return q[0] }

// change changes the queue of a route as a heap.
func (x *index) change(r *route, f func(h *heap[uint32])) {
	h := heap[uint32]{items: r.queue, less: x.less}
	f(&h)
	r.queue = h.items
}

// intern returns the route of a packed key, made if necessary, with one more
// reference.
func (x *index) intern(name []byte) *route {
	sum := maphash.Bytes(x.seed, name)
	first, ok := x.names[sum]
	if !ok {
		first = none
	}
	r := x.named(first, name)
	if r == nil {
		k := parseKey(string(name))
		if packed := packKey(k); !bytes.Equal(packed, name) { // of an earlier revision
			return x.intern(packed)
		}
		r = x.addRoute(k, first)
		x.names[sum] = r.number
	}
	r.refs++
	return r
}

// named finds the route of a packed key among those of one sum.
func (x *index) named(first uint32, name []byte) *route {
	var scratch [128]byte
	for n := first; n != none; {
		r := x.byRoute.get(n)
		if bytes.Equal(appendPacked(scratch[:0], r.key()), name) {
			return r
		}
		n = r.next
	}
	return nil
}

func (x *index) addRoute(k spool.Key, next uint32) *route {
	g := groupOf(k)
	n := x.byRoute.add(route{group: g, stream: unique.Make(k.Stream), at: -1, next: next})
	r := x.byRoute.get(n)
	r.number = n
	x.groups[g] = append(x.groups[g], r)
	return r
}

func (x *index) release(number uint32) {
	r := x.byRoute.get(number)
	if r.refs--; r.refs > 0 {
		return
	}
	x.unname(r)
	x.ungroup(r)
	x.byRoute.drop(number)
	if x.byRoute.len() == 0 && x.byRoute.used > 1<<slabBits { // as in shrink
		x.byRoute = slab[route]{}
		x.names, x.groups = make(map[uint64]uint32), make(map[group][]*route)
	}
}

// unname takes a route out of those of its sum.
func (x *index) unname(r *route) {
	sum := maphash.Bytes(x.seed, packKey(r.key()))
	switch first := x.names[sum]; {
	case first != r.number:
		before := x.byRoute.get(first)
		for before.next != r.number {
			before = x.byRoute.get(before.next)
		}
		before.next = r.next
	case r.next != none:
		x.names[sum] = r.next
	default:
		delete(x.names, sum)
	}
}

func (x *index) ungroup(r *route) {
	list := slices.DeleteFunc(x.groups[r.group], func(v *route) bool { return v == r })
	if len(list) == 0 {
		delete(x.groups, r.group)
		return
	}
	x.groups[r.group] = list
}

// matching calls f for each route that a key of a request stands for.
func (x *index) matching(k spool.Key, f func(*route)) {
	for _, r := range x.groups[groupOf(k)] {
		if k.Stream == "" || k.Stream == r.stream.Value() {
			f(r)
		}
	}
}

// queue puts a delivery in the queue of its route, unless it is on hold.
func (x *index) queue(d uint32) {
	e := x.deliveries.get(d)
	if e.held() {
		return
	}
	if e.due < x.told && x.sooner != nil {
		x.sooner()
	}
	r := x.byRoute.get(e.route)
	x.change(r, func(h *heap[uint32]) { h.push(d) })
	if r.at < 0 {
		x.routes.push(r)
	} else {
		x.routes.fix(r.at)
	}
}

// unqueue takes the oldest delivery out of a route.
func (x *index) unqueue(r *route) (d uint32) {
	at := r.at
	if r.queue.len() == 1 && at >= 0 {
		// Its place among the others must be given up while it can still be
		// compared.
		x.routes.remove(at)
		at = -1
	}
	x.change(r, func(h *heap[uint32]) { d = h.pop() })
	if at >= 0 {
		x.routes.fix(at)
	}
	return d
}

// take takes a delivery out of the queue of its route, wherever it is in it.
func (x *index) take(d uint32) {
	r := x.byRoute.get(x.deliveries.get(d).route)
	i := slices.Index(r.queue, d)
	if i < 0 {
		return
	}
	if r.queue.len() == 1 {
		x.unqueue(r)
		return
	}
	x.change(r, func(h *heap[uint32]) { h.remove(i) })
	if r.at >= 0 {
		x.routes.fix(r.at)
	}
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
