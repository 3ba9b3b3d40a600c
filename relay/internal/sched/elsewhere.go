package sched

import "time"

const (
	leaveFirst = gather           // a route is left to others
	leaveLast  = 15 * time.Second // the same, at the end
)

// elsewhere are routes whose deliveries are for another process that shares the
// store. They are not asked for, for a while that grows each time one was
// handed out all the same. There are no more of them than configurations name.
type elsewhere map[string]*rest

type rest struct {
	wait  time.Duration
	until time.Time
}

// leave notes that deliveries of a route are for another process.
func (e elsewhere) leave(route string, now time.Time) {
	r := e[route]
	if r == nil {
		r = &rest{wait: leaveFirst / 2}
		e[route] = r
	}
	if !r.until.After(now) {
		r.wait = min(2*r.wait, leaveLast)
		r.until = now.Add(r.wait)
	}
}

// has reports whether a route is left alone now.
func (e elsewhere) has(route string, now time.Time) bool {
	r := e[route]
	return r != nil && r.until.After(now)
}

// now returns the routes that are left alone now, and how long it takes until
// the first of them is not any more. It forgets those of which no delivery was
// handed out for a while.
func (e elsewhere) now(now time.Time) (list []string, first time.Duration) {
	first = idleWait
	for route, r := range e {
		switch rests := r.until.Sub(now); {
		case rests > 0:
			first = min(first, rests)
			list = append(list, route)
		case -rests > r.wait+idleWait:
			delete(e, route)
		}
	}
	return list, first
}
