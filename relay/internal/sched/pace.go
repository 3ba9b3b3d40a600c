package sched

import "time"

const (
	// gather is how long deliveries and places gather at most before the store
	// is asked again. It is less where that takes little time: a tenth of the
	// time may go into asking, for news alone a thirtieth.
	gather    = 10 * time.Millisecond
	idleWait  = 5 * time.Second // between looks at a store that knows of nothing
	storeWait = time.Second     // after a failing store
	lookOnce  = 1024            // deliveries looked at before others have their turn
)

// pace tells when to ask the store.
type pace struct {
	window int // free places worth asking for at once

	cost     time.Duration // of a call, about
	last     time.Time     // when it was asked
	next     time.Time     // when to ask if nothing happens
	full     bool          // there may have been more than there were places
	woken    bool          // there may be more since
	finished int           // deliveries since
}

func paceOf(places int) pace {
	return pace{window: min(max(8, places/8), max(1, places/2))}
}

// ask notes that the store is being asked.
func (p *pace) ask(now time.Time) {
	*p = pace{window: p.window, cost: p.cost, last: now, next: now}
}

// called notes how long a call has taken. One that was held up counts little.
func (p *pace) called(d time.Duration) {
	if d < p.cost {
		p.cost = (p.cost + d) / 2
		return
	}
	p.cost += (d - p.cost) / 16
}

// gather is how long to wait from one call to the next.
func (p *pace) gather() time.Duration { return min(10*p.cost, gather) }

// soon sees that the store is asked after a while at the latest.
func (p *pace) soon(wait time.Duration) {
	if t := time.Now().Add(wait); t.Before(p.next) {
		p.next = t
	}
}

// rest sees that a store that has failed is not asked before a time, whatever
// comes meanwhile.
func (p *pace) rest(until time.Time) { p.last, p.next, p.full = until, until, false }

// wait is how long to wait before asking.
func (p *pace) wait(now time.Time) time.Duration {
	next := p.next
	switch soon := p.last.Add(min(3*p.gather(), gather)); {
	case p.full && p.finished >= p.window:
		return 0
	case (p.woken || p.full && p.finished > 0) && soon.Before(next):
		next = soon
	}
	return max(next.Sub(now), 0)
}
