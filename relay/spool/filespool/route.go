package filespool

import (
	"slices"

	"github.com/postern-mail/postern/relay/spool"
)

// route is a queue of the deliveries with one key that are not leased.
type route struct {
	key    spool.Key
	name   string // the key, packed
	number uint32
	refs   int // deliveries, leased or not
	at     int // in index.routes; -1 while the queue is empty
	queue  heap[uint32]
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
	packed := string(packKey(k)) // an earlier revision wrote another
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

// queue puts a delivery in the queue of its route, unless it is on hold.
func (x *index) queue(d uint32) {
	e := x.deliveries.get(d)
	if e.held() {
		return
	}
	if e.due < x.told && x.sooner != nil {
		x.sooner()
	}
	r := x.byRoute[e.route]
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
		if at >= 0 {
			x.routes.remove(at)
		}
		return r.queue.pop()
	}
	d := r.queue.pop()
	if at >= 0 {
		x.routes.fix(at)
	}
	return d
}

// take takes a delivery out of the queue of its route, wherever it is in it.
func (x *index) take(d uint32) {
	r := x.byRoute[x.deliveries.get(d).route]
	i := slices.Index(r.queue.items, d)
	if i < 0 {
		return
	}
	if r.queue.len() == 1 {
		x.unqueue(r)
		return
	}
	r.queue.remove(i)
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
