package sched

import (
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	aheadLeast = 8        // leased ahead where a site has fewer places
	aheadMost  = 64       // leased ahead of a site
	costUnit   = 64 << 10 // octets that cost as much as a message
	costMost   = 64
)

// line is what was leased ahead for a site. Its streams take turns, each for as
// much as its weight says (deficit round robin).
type line struct {
	waiting int
	emptied int                // streams that have run dry since the store was asked
	streams map[string]*stream // with something waiting or under way, or a limit
	turns   []*stream          // those with something waiting; the first has its turn
	keep    int                // streams, before idle ones are forgotten
}

// stream is that of a site.
type stream struct {
	gate
	name    string
	weight  int
	queue   []*spool.Lease
	deficit int       // what it may still cost in this turn
	slot    time.Time // of the last that its rate has kept back
	resting resting
}

// costOf is what a delivery costs in its stream's turn.
func costOf(l *spool.Lease) int { return 1 + int(min(l.Message.Size/costUnit, costMost-1)) }

// stream returns that of a delivery.
func (n *line) stream(of func(Site, string) (int, Limit), s Site, name string) *stream {
	v := n.streams[name]
	if v == nil {
		if n.streams == nil {
			n.streams = make(map[string]*stream)
		}
		if len(n.streams) >= max(n.keep, aheadMost) {
			n.forgetStreams()
		}
		v = &stream{name: name}
		v.weight, v.Limit = of(s, name)
		v.weight = max(v.weight, 1)
		n.streams[name] = v
	}
	return v
}

// forgetStreams drops those of which nothing would be lost.
func (n *line) forgetStreams() {
	now := time.Now()
	for name, v := range n.streams {
		if len(v.queue) == 0 && v.quiet(now) {
			delete(n.streams, name)
		}
	}
	n.keep = 2 * len(n.streams)
}

// left forgets a stream that has nothing any more.
func (n *line) left(v *stream, now time.Time) {
	if len(v.queue) == 0 && v.quiet(now) {
		delete(n.streams, v.name)
	}
}

// push puts a delivery behind others of its stream.
func (n *line) push(v *stream, l *spool.Lease) {
	if len(v.queue) == 0 {
		n.turns = append(n.turns, v)
	}
	v.queue = append(v.queue, l)
	n.waiting++
}

// pop takes the delivery whose turn it is.
func (n *line) pop() *spool.Lease {
	for {
		v := n.turns[0]
		if c := costOf(v.queue[0]); c <= v.deficit {
			v.deficit -= c
			return n.take(v)
		}
		copy(n.turns, n.turns[1:])
		n.turns[len(n.turns)-1] = v
		n.turns[0].deficit += n.turns[0].weight
	}
}

// take takes the first delivery of the stream that has its turn.
func (n *line) take(v *stream) *spool.Lease {
	l := v.queue[0]
	v.queue[0] = nil
	v.queue = v.queue[1:]
	n.waiting--
	if len(v.queue) == 0 {
		v.queue, v.deficit = nil, 0
		n.turns = n.turns[1:]
		n.emptied++
		if len(n.turns) == 0 {
			n.turns, n.emptied = nil, 0
		}
	}
	return l
}

// clear takes all.
func (n *line) clear() (list []*spool.Lease) {
	for _, v := range n.turns {
		list = append(list, v.queue...)
		v.queue, v.deficit = nil, 0
	}
	n.turns, n.waiting, n.emptied = nil, 0, 0
	return list
}

// lacks tells that as many streams have run dry as have something waiting: they
// would miss their turns.
func (n *line) lacks() bool { return n.emptied > 0 && n.emptied >= len(n.turns) }

// ample are the streams that need nothing more now, so that the others have
// something when their turn comes.
func (n *line) ample(each int, f func(*stream)) {
	if len(n.streams) < 2 {
		return
	}
	for _, v := range n.turns {
		if len(v.queue) >= max(each, v.weight) {
			f(v)
		}
	}
}

// keep is how long a delivery is kept back by the limit of its stream; 0 if it
// is not.
func (v *stream) keep(now time.Time) time.Duration {
	if v.room(1, now) > 0 {
		return 0
	}
	opens := v.opens(now)
	if opens == 0 { // something has to end
		return v.turn(now)
	}
	latest := now.Add(opens + v.resting.turn(now))
	if v.slot = v.slot.Add(v.Every); v.slot.Before(now.Add(opens)) {
		v.slot = now.Add(opens)
	} else if v.slot.After(latest) {
		v.slot = latest
	}
	return v.slot.Sub(now)
}
