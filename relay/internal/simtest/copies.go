package simtest

import (
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/event"
)

// grace is for what was on its way when a node came or went.
const grace = 10 * time.Second

// checkCopies sees that each copy but the one that the fate tells of has a
// cause: who took it could not say so, or the process could not write it down
// (I9). With one node the fate tells of the last; of several, one may hand over
// what others have taken over and finished.
func (w *World) checkCopies(to string, r *record, copies []*taken) {
	e := r.fates[0]
	slices.SortFunc(copies, func(a, b *taken) int { return a.at.Compare(b.at) })
	delivered := e.Kind == event.Delivered
	for i, c := range slices.Backward(copies) {
		w.checkCut(to, c)
		if i > 0 && !w.attended(r.accepted.To) {
			w.checkPause(to, copies[i-1], c)
		}
		last := i == len(copies)-1
		if !c.told || w.excused(c, e, copies[i+1:]) {
			continue
		}
		if delivered && (last || w.shared()) {
			delivered = false // this one
			continue
		}
		w.t.Errorf("I9: %s was taken at %s by %s from node %d, and again or %s, without a cause",
			to, clock(c.at), c.host, c.node, e.Kind)
	}
}

// checkPause sees that what a host may have taken is not tried again at once.
func (w *World) checkPause(to string, c, next *taken) {
	wait := next.at.Sub(c.at)
	if wait >= soonest/2 || c.node != next.node || w.isOut(c.node, c.at, next.at) {
		return
	}
	w.t.Errorf("I9: %s was taken at %s, and tried again %v later", to, clock(c.at), wait)
}

// attended tells whether an operator has had a message tried again.
func (w *World) attended(recipients []string) bool {
	return slices.ContainsFunc(recipients, func(to string) bool { return w.history.aside[to] })
}

// isOut tells whether a node was out of order, or its clock was set, between.
func (w *World) isOut(node int, from, until time.Time) bool {
	near := func(x span) bool {
		return x.to.After(from.Add(-grace)) && x.from.Before(until.Add(grace))
	}
	return slices.ContainsFunc(w.history.nodes[node], near) ||
		slices.ContainsFunc(w.history.calamities, func(c calamity) bool {
			return c.kind == ClockSteps && near(span{c.at, c.at})
		})
}

// checkCut sees that a node without the store has stopped when its leases had
// ended: others have what it held.
func (w *World) checkCut(to string, c *taken) {
	for _, x := range w.history.nodes[c.node] {
		if w.shared() && c.at.After(x.from.Add(w.plan.Lease+grace)) && c.at.Before(x.to) {
			w.t.Errorf("I9: %s got a copy at %s from node %d, which was out from %s to %s",
				to, clock(c.at), c.node, clock(x.from), clock(x.to))
		}
	}
}

// excused reports whether a copy could not be written down: something was wrong
// with the node that made it, or with the network of the host that took it.
func (w *World) excused(c *taken, e event.Event, later []*taken) bool {
	if w.nodeOut(c, e, later) {
		if len(later) > 0 {
			w.history.twice++
		}
		return true
	}
	for _, s := range w.history.hosts[c.host] {
		if c.at.After(s.from) && c.at.Before(s.to.Add(10*time.Minute)) {
			return true
		}
	}
	return false
}

// nodeOut reports whether a node was out of order between a copy and the next,
// or the end.
func (w *World) nodeOut(c *taken, e event.Event, later []*taken) bool {
	from, until := c.at.Add(-grace), e.Time.Add(maxStep) // by a clock that steps
	switch {
	case len(later) > 0:
		until = later[0].at
	case w.shared() && e.Kind == event.Delivered:
		until = c.at.Add(grace)
	}
	if !w.shared() { // its disk may forget what was settled
		from, until = c.at.Add(-time.Minute), until.Add(maxStep)
	}
	return slices.ContainsFunc(w.history.nodes[c.node], func(x span) bool {
		return x.to.After(from) && x.from.Before(until)
	})
}
