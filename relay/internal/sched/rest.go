package sched

import "time"

const (
	restLook = time.Second           // what is kept back is looked at again
	restEach = 10 * time.Millisecond // from one to the next, however many
)

// resting are deliveries that throttles keep back. They come again one after
// the other, so that a lifted throttle is noticed soon, and many that wait cost
// little.
type resting struct {
	next time.Time
}

// turn is how long it takes until the next one comes again.
func (r *resting) turn(now time.Time) time.Duration {
	if soon := now.Add(restLook); r.next.Before(soon) {
		r.next = soon
	}
	r.next = r.next.Add(restEach)
	return r.next.Sub(now)
}
