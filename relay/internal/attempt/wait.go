package attempt

import (
	"math/rand/v2"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
)

// nextDue is when the next attempt is due, at the end of the delivery's time at
// the latest.
func nextDue(
	r *delivery.Retry, d *spool.Delivery, attempts int, failed []*failure, now time.Time,
) time.Time {
	wait := waitAfter(r, d.Key, attempts)
	if attempts == 1 && allGreylisted(failed) {
		wait = after(r.Greylisted)
	}
	if due := now.Add(wait); due.Before(d.Expires) {
		return due
	}
	return d.Expires
}

// waitAfter is how long a delivery waits after so many failed attempts, spread
// so that what failed together is not tried together.
func waitAfter(r *delivery.Retry, k spool.Key, attempts int) time.Duration {
	if k.Domain != "" { // to mail exchangers
		return around(r.WaitMX(attempts))
	}
	return after(r.Wait(attempts))
}

// after adds up to a tenth.
func after(d time.Duration) time.Duration { return d + rand.N(max(d/10, 1)) }

// around takes up to a fifth away, or adds it.
func around(d time.Duration) time.Duration { return d - d/5 + rand.N(max(2*d/5, 1)) }

// allGreylisted reports whether nothing but greylisting keeps the copies that
// wait. Of a mix the schedule decides: it comes by six minutes as well.
func allGreylisted(failed []*failure) bool {
	some := false
	for _, f := range failed {
		switch {
		case f == nil || f.Permanent:
		case f.class == bounce.Greylisted:
			some = true
		default:
			return false
		}
	}
	return some
}
