package attempt

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
)

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
func allGreylisted(results []delivery.Result) bool {
	some := false
	for i := range results {
		f := classify(&results[i])
		switch {
		case f == nil || f.Permanent:
		case isGreylisted(f):
			some = true
		default:
			return false
		}
	}
	return some
}

func isGreylisted(f *delivery.Error) bool {
	return f.Reply.Code/100 == 4 && strings.Contains(strings.ToLower(f.Reply.Text), "greylist")
}
