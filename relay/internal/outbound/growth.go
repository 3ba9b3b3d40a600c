package outbound

import (
	"math/bits"
	"time"
)

// How many connections to a next hop are worth having at once.
const (
	// firstPlaces is what a next hop begins with, and has at least however
	// slow it is: one that is slow by nature gets no less.
	firstPlaces = 5
	// slack is how much longer than twice its best a next hop may take, for the
	// first class of sizes. A near one is busy, not congested, when
	// milliseconds become tens of them.
	slack = 500 * time.Millisecond
	// steps is how many transactions the mean is over.
	steps = 16
)

// growth finds the number of connections to a next hop by what its transactions
// take. It is not safe for concurrent use. Begin with a target.
//
// While deliveries wait and the next hop is quick, each transaction adds a
// place, which doubles them in the time of one (slow start); once it has been
// slow or has refused, each round of them adds one. While it is slow, each
// round takes an eighth away. Slow is a mean of more than twice the best mean
// and some slack: then more connections wait in the host instead of here. Where
// it is no quicker with the fewest, this is how it is, and becomes its best.
type growth struct {
	target int
	steady bool             // slow start is over
	round  int              // transactions since the target was changed
	paces  [2][classes]pace // of those that went ahead of others the second
}

// classes is the number of classes of sizes.
const classes = 8

// pace is what transactions of one class of sizes take.
type pace struct {
	seen       int
	mean, best time.Duration
}

// class is that of so many octets for so many recipients: below 16 KiB, then up
// to four times as much each.
func class(size int64, recipients int) int {
	weight := uint64(max(size, 0)) + uint64(recipients)<<11
	return min((bits.Len64(weight>>14)+1)/2, classes-1)
}

// learn takes in how long a transaction took, or one that was sent ahead from
// its turn on. wanted tells that deliveries wait for a place.
func (g *growth) learn(class int, ahead bool, took time.Duration, wanted bool) {
	p := &g.paces[0][class]
	if ahead {
		p = &g.paces[1][class]
	}
	p.add(took)
	g.round++
	switch round := g.round >= g.target; {
	case p.slow(slack * time.Duration(1+class)):
		g.steady = true
		if round && g.target > firstPlaces {
			g.change(max(firstPlaces, g.target*7/8))
		} else if round {
			p.best, g.round = p.mean, 0
		}
	case wanted && !g.steady:
		g.target++
	case wanted && round:
		g.change(g.target + 1)
	}
}

func (g *growth) change(target int) { g.target, g.round = target, 0 }

// refused tells that the next hop serves so many and not one more.
func (g *growth) refused(served int) {
	g.steady = true
	g.change(min(g.target, served))
}

// worth is how many deliveries may be begun at once: as many as there are
// places, and some to wait, or the places would never become more.
func (g *growth) worth() int {
	if g.steady {
		return g.target + 1 + g.target/8
	}
	return 2 * g.target
}

// restart forgets how many places there were, and keeps what is known of the
// pace.
func (g *growth) restart() { g.target, g.steady, g.round = firstPlaces, false, 0 }

func (p *pace) add(took time.Duration) {
	p.seen = min(p.seen+1, steps)
	p.mean += (took - p.mean) / time.Duration(p.seen)
	if p.seen == steps && (p.best == 0 || p.mean < p.best) {
		p.best = p.mean
	}
}

func (p *pace) slow(slack time.Duration) bool { return p.best > 0 && p.mean > 2*p.best+slack }
