package sched

import (
	"slices"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	costUnit = 64 << 10 // octets that cost as much as a message
	costMost = 64
)

// lanes are those whose mail was leased ahead: streams, and of the mail without
// one its origins. They take turns for places, each for as much as its weight
// says (deficit round robin), and in a lane its sites take turns.
type lanes struct {
	byName  map[laneName]*lane
	turns   []*lane // those with something waiting; the first has waited longest
	waiting int
}

// laneName has an origin only where there is no stream.
type laneName struct{ stream, origin string }

type lane struct {
	name    laneName
	queues  []*queue // of its sites, in turn
	waiting int
	deficit int  // what it may still cost in this turn
	inTurn  bool // it has been given what its weight says
}

// line is what waits for a site.
type line struct {
	waiting int
	emptied int // lanes that have run dry since the store was asked
	queues  map[laneName]*queue
}

// lacks tells that as many lanes have run dry as have something waiting: they
// would miss their turns.
func (n *line) lacks() bool { return n.emptied > 0 && n.emptied >= len(n.queues) }

// queue is what of a lane waits for a site.
type queue struct {
	lane   *lane
	site   *site
	weight int
	list   []waiting
}

// waiting is a delivery that was leased ahead.
type waiting struct {
	lease *spool.Lease
	owner Owner
}

// cost is what it takes from its lane's turn.
func (w *waiting) cost() int {
	return 1 + int(min(w.lease.Message.Size/costUnit, costMost-1))
}

func laneOf(l *spool.Lease, o Owner) laneName {
	if stream := l.Delivery.Key.Stream; stream != "" {
		return laneName{stream: stream}
	}
	return laneName{origin: o.Origin}
}

// takes reports whether another delivery of a lane may wait for a site, of so
// many in all. Each lane may have one.
func (t *lanes) takes(name laneName, r *site, all int) bool {
	n := t.byName[name]
	if n == nil {
		return t.waiting < 2*all
	}
	return r.waiting < r.ahead() && t.waiting < all && n.waiting < t.part(all)
}

// part is how much of so many places in the lanes one lane may have: another
// one's mail is to find some.
func (t *lanes) part(all int) int { return max(1, 3*all/(3+len(t.turns))) }

// fullStreams are the streams that have all that they may of so many places in
// the lanes.
func (t *lanes) fullStreams(all int) (list []string) {
	part := t.part(all)
	for _, n := range t.turns {
		if n.name.stream != "" && n.waiting >= part {
			list = append(list, n.name.stream)
		}
	}
	return list
}

// push puts a delivery behind the others of its lane and site.
func (t *lanes) push(name laneName, r *site, weight int, w waiting) {
	n := t.byName[name]
	if n == nil {
		if t.byName == nil {
			t.byName = make(map[laneName]*lane)
		}
		n = &lane{name: name}
		t.byName[name] = n
		t.turns = append(t.turns, n)
	}
	q := r.queues[name]
	if q == nil {
		if r.queues == nil {
			r.queues = make(map[laneName]*queue)
		}
		q = &queue{lane: n, site: r, weight: weight}
		r.queues[name] = q
		n.queues = append(n.queues, q)
	}
	q.list = append(q.list, w)
	q.site.waiting++
	n.waiting++
	t.waiting++
}

// pop takes the first delivery of a queue.
func (t *lanes) pop(q *queue) waiting {
	w := q.list[0]
	q.list[0] = waiting{}
	q.list = q.list[1:]
	t.gone(q, 1)
	return w
}

// gone counts what has left a queue, and forgets what is empty.
func (t *lanes) gone(q *queue, n int) {
	q.site.waiting -= n
	q.lane.waiting -= n
	t.waiting -= n
	if len(q.list) > 0 {
		return
	}
	delete(q.site.queues, q.lane.name)
	if q.site.emptied++; len(q.site.queues) == 0 {
		q.site.emptied = 0
	}
	i := slices.Index(q.lane.queues, q)
	q.lane.queues = slices.Delete(q.lane.queues, i, i+1)
	if len(q.lane.queues) == 0 {
		delete(t.byName, q.lane.name)
		i := slices.Index(t.turns, q.lane)
		t.turns = slices.Delete(t.turns, i, i+1)
	}
}

// clear takes all that waits for a site.
func (t *lanes) clear(r *site) (list []waiting) {
	for _, q := range r.queues {
		list = append(list, q.list...)
		n := len(q.list)
		q.list = nil
		t.gone(q, n)
	}
	return list
}

// serve gives each lane its turn, and reports whether another round may begin
// more. ready tells whether the first delivery of a queue can begin now, and
// may take it away; begin takes and begins it.
func (t *lanes) serve(ready func(*queue) bool, begin func(*queue)) (again bool) {
	for i, left := 0, len(t.turns); left > 0 && i < len(t.turns); left-- {
		n := t.turns[i]
		q := n.next(ready)
		if q == nil {
			if i < len(t.turns) && t.turns[i] == n {
				i++ // it keeps its place
			}
			continue
		}
		again = true
		if !n.inTurn {
			n.inTurn = true
			n.deficit += q.weight
		}
		for q != nil && q.list[0].cost() <= n.deficit {
			n.deficit -= q.list[0].cost()
			n.last(q)
			begin(q)
			q = n.next(ready)
		}
		if q == nil && n.waiting > 0 {
			i++ // nothing more can begin: its turn goes on
			continue
		}
		n.inTurn = false
		if n.waiting > 0 {
			t.turns = append(slices.Delete(t.turns, i, i+1), n)
		}
	}
	return again
}

// next returns the first of a lane's queues that is ready; nil for none.
func (n *lane) next(ready func(*queue) bool) *queue {
	for range len(n.queues) {
		if len(n.queues) == 0 {
			break
		}
		q := n.queues[0]
		if ready(q) {
			return q
		}
		if len(q.list) > 0 {
			n.last(q)
		}
	}
	return nil
}

// last puts a queue behind the others of its lane.
func (n *lane) last(q *queue) {
	i := slices.Index(n.queues, q)
	copy(n.queues[i:], n.queues[i+1:])
	n.queues[len(n.queues)-1] = q
}
