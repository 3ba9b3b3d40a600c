package sched

import "time"

// What a bound says to those it keeps back: they come again one after the
// other, so far apart, and none waits for longer than turnMax. They are further
// apart the longer nothing has come to its end.
const (
	turnFirst = 100 * time.Microsecond
	turnLast  = 100 * time.Millisecond
	turnMax   = 15 * time.Second
)

// group is what several deliveries share a bound for.
type group struct {
	active int
	done   time.Time     // when the last one has ended, or the first has begun
	next   time.Time     // when the last one that was kept back comes again
	gap    time.Duration // from one end to the next, about
}

func (g *group) begin(now time.Time) {
	if g.active++; g.active == 1 {
		g.done = now
	}
}

func (g *group) end(now time.Time) {
	g.active--
	g.gap += (now.Sub(g.done) - g.gap) / 8
	g.done = now
}

// turn is how long it takes until a delivery that the group's bound keeps back
// comes again.
func (g *group) turn(now time.Time) time.Duration {
	apart := min(max(now.Sub(g.done)/64, g.gap/2, turnFirst), turnLast)
	if g.next.Before(now) {
		g.next = now
	}
	if g.next = g.next.Add(apart); g.next.Sub(now) > turnMax {
		g.next = now.Add(turnMax)
	}
	return g.next.Sub(now)
}
