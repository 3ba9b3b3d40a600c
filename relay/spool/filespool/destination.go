package filespool

import (
	"unique"

	"github.com/postern-mail/postern/relay/spool"
)

// group is a key without its stream.
type group struct{ route, domain unique.Handle[string] }

func groupOf(k spool.Key) group { return group{unique.Make(k.Route), unique.Make(k.Domain)} }

// destination are the lines of one route and domain, one a stream.
type destination struct {
	group
	lines   int      // known
	waiting queue    // those of them in which something waits, and is wanted
	apart   []uint32 // such lines in the orders of their streams
	at      int      // in index.order; -1 while it is out of it
}

// destinationOf returns the destination of a key, made if necessary.
func (x *index) destinationOf(k spool.Key) *destination {
	p := groupOf(k)
	t := x.destinations[p]
	if t == nil {
		t = &destination{group: p, at: -1}
		x.destinations[p] = t
	}
	return t
}

// ordered returns the waiting lines of a destination as a heap.
func (x *index) ordered(t *destination) heap[uint32] {
	return heap[uint32]{items: t.waiting, less: x.lineLess, moved: x.lineMoved}
}

// join has a line wait for its turn.
func (x *index) join(n uint32) {
	l := x.lines.get(n)
	if l.apart = l.apart && x.apart[l.stream] != nil; l.apart {
		x.joinApart(n, l)
		return
	}
	t := l.to
	h := x.ordered(t)
	h.push(n)
	t.waiting = h.items
	if t.at < 0 {
		x.order.push(t)
	} else {
		x.order.fix(t.at)
	}
}

// leave takes a waiting line out of the order.
func (x *index) leave(n uint32) {
	l := x.lines.get(n)
	if l.apart {
		x.leaveApart(n, l)
		return
	}
	t := l.to
	if len(t.waiting) == 1 && t.at >= 0 {
		x.order.remove(t.at) // while it can still be compared
	}
	h := x.ordered(t)
	h.remove(int(l.at))
	t.waiting = h.items
	if t.at >= 0 {
		x.order.fix(t.at)
	}
}

// moved restores the order after the first delivery of a waiting line has
// changed.
func (x *index) moved(l *line) {
	if l.apart {
		a := x.apart[l.stream]
		a.lines.fix(int(l.at))
		x.settle(a)
		return
	}
	h := x.ordered(l.to)
	h.fix(int(l.at))
	if l.to.at >= 0 {
		x.order.fix(l.to.at)
	}
}

// waitingLine returns the line of a key if it waits in the order, or none.
func (x *index) waitingLine(k spool.Key) uint32 {
	var scratch [128]byte
	n := x.named(appendPacked(scratch[:0], k))
	if n == none {
		return none
	}
	if l := x.lines.get(n); l.at < 0 || l.to.at < 0 && !l.apart {
		return none
	}
	return n
}
