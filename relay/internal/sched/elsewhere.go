package sched

import (
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	leaveFirst   = gather           // a key is left to others
	leaveLast    = 15 * time.Second // the same, at the end
	maxElsewhere = 1024             // keys that are left at once
)

// elsewhere are keys whose deliveries are for another process that shares the
// store. They are not asked for, for a while that grows each time one was
// handed out all the same.
type elsewhere struct{ keys map[spool.Key]*rest }

type rest struct {
	wait  time.Duration
	until time.Time
}

// leave notes that a delivery is for another process, and returns how long it
// is kept from everybody: not at all, unless there is no room to note its key.
func (e *elsewhere) leave(k spool.Key, now time.Time) time.Duration {
	k.Stream = ""
	r := e.keys[k]
	switch {
	case r == nil && len(e.keys) >= maxElsewhere:
		return leaveLast
	case r == nil:
		r = &rest{wait: leaveFirst / 2}
		e.keys[k] = r
	}
	if !r.until.After(now) {
		r.wait = min(2*r.wait, leaveLast)
		r.until = now.Add(r.wait)
	}
	return 0
}

// has reports whether a key is left alone now.
func (e *elsewhere) has(k spool.Key, now time.Time) bool {
	r := e.keys[k]
	return r != nil && r.until.After(now)
}

// busy adds the keys that are left alone now to a list, and returns when the
// first of them is not any more. It forgets those of which no delivery was
// handed out for as long again.
func (e *elsewhere) busy(list []spool.Key, now time.Time) ([]spool.Key, time.Duration) {
	first := idleWait
	for k, r := range e.keys {
		switch rests := r.until.Sub(now); {
		case rests > 0:
			first = min(first, rests)
			list = append(list, k)
		case -rests > r.wait+idleWait:
			delete(e.keys, k)
		}
	}
	return list, first
}
