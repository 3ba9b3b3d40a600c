package relay

import (
	"fmt"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	defaultExpires = 48 * time.Hour
	defaultDelay   = 4 * time.Hour
)

// Exchange's default timeline: glitches, then transient failures, then long
// waits.
func defaultSchedule() []time.Duration {
	const m = time.Minute
	return []time.Duration{m, m, m, m, 5 * m, 5 * m, 5 * m, 5 * m, 5 * m, 5 * m, 10 * m}
}

// newRetry checks a schedule and fills in its defaults.
func newRetry(r Retry, f *faults) Retry {
	for i, d := range r.Schedule {
		if d < time.Second {
			f.addf(fmt.Sprintf("Retry.Schedule[%d]", i), "%v is shorter than a second", d)
		}
	}
	if len(r.Schedule) == 0 {
		r.Schedule = defaultSchedule()
	}
	if r.Expires == 0 {
		r.Expires = defaultExpires
	} else if r.Expires < time.Second {
		f.addf("Retry.Expires", "%v is shorter than a second", r.Expires)
	}
	r.DelayNotification = orDefault(r.DelayNotification, defaultDelay)
	if d := r.DelayNotification; 0 < d && d < time.Second {
		f.addf("Retry.DelayNotification", "%v is shorter than a second", d)
	}
	return r
}

// wait returns how long to wait after the nth failed attempt, without jitter.
func (r Retry) wait(n int) time.Duration {
	return r.Schedule[min(max(n, 1), len(r.Schedule))-1]
}

// isLate reports whether a message has waited so long that its sender is told.
func (r Retry) isLate(m *spool.Message, now time.Time) bool {
	return r.DelayNotification > 0 && now.Sub(m.Created) >= r.DelayNotification
}
