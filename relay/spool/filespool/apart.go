package filespool

import (
	"slices"
	"unique"
)

// apart are the waiting lines of a stream of which somebody wanted nothing.
// They have an order of their own until none is left, so that whoever wants
// nothing of the stream does not pass by each of its lines again.
type apart struct {
	stream unique.Handle[string]
	lines  heap[uint32]
	at     int  // in index.streams; -1 while it is out of it
	out    bool // nothing of it is wanted now
}

// leaveOut takes streams out of the order of leasing, until takeIn.
func (x *index) leaveOut(streams []string) (out []*apart) {
	for _, name := range streams {
		stream := unique.Make(name)
		a := x.apart[stream]
		if a == nil {
			a = &apart{
				stream: stream, lines: heap[uint32]{less: x.lineLess, moved: x.lineMoved}, at: -1,
			}
			x.apart[stream] = a
		}
		if a.out = true; a.at >= 0 {
			x.streams.remove(a.at)
		}
		out = append(out, a)
	}
	return out
}

func (x *index) takeIn(out []*apart) {
	for _, a := range out {
		a.out = false
		x.settle(a)
	}
}

// settle gives an order the place among the others that it has by its first
// line.
func (x *index) settle(a *apart) {
	switch {
	case a.out:
	case a.at >= 0:
		x.streams.fix(a.at)
	case a.lines.len() > 0:
		x.streams.push(a)
	default:
		delete(x.apart, a.stream)
	}
}

// isOut reports whether a line is of a stream of which nothing is wanted.
func (x *index) isOut(l *line) bool {
	a := x.apart[l.stream]
	return a != nil && a.out
}

// setApart moves a waiting line to the order of its stream.
func (x *index) setApart(n uint32) {
	x.leave(n)
	x.lines.get(n).apart = true
	x.join(n)
}

// joinApart has a line that is set apart wait for its turn.
func (x *index) joinApart(n uint32, l *line) {
	a := x.apart[l.stream]
	a.lines.push(n)
	l.to.apart = append(l.to.apart, n)
	x.settle(a)
}

// leaveApart takes such a line out of the order.
func (x *index) leaveApart(n uint32, l *line) {
	a := x.apart[l.stream]
	if a.lines.len() == 1 && a.at >= 0 {
		x.streams.remove(a.at) // while it can still be compared
	}
	a.lines.remove(int(l.at))
	i := len(l.to.apart) - 1
	for l.to.apart[i] != n { // cutOut takes the last
		i--
	}
	if l.to.apart = slices.Delete(l.to.apart, i, i+1); len(l.to.apart) == 0 {
		l.to.apart = nil
	}
	x.settle(a)
}

// next returns the line of which something is due first, or none.
func (x *index) next() uint32 {
	n := none
	if x.order.len() > 0 {
		n = x.order.top().waiting[0]
	}
	if x.streams.len() > 0 {
		if m := x.streams.top().lines.top(); n == none || x.lineLess(m, n) {
			n = m
		}
	}
	return n
}
