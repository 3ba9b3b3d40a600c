package delivery

import "time"

// Retry is the schedule of attempts.
type Retry struct {
	// Schedule holds the waits after the first, second, third… failed
	// attempt, of a second at least; the last repeats. A jitter of up to a
	// tenth is added to each. Defaults to four times 1 minute, six times 5
	// minutes, then 10 minutes (Exchange's default timeline).
	Schedule []time.Duration
	// Expires is the age, of a second at least, at which a message is given up
	// and its sender told, also while its next hop is down. It gets one attempt
	// first after the relay began, or after the clock was set. Defaults to 48
	// hours.
	Expires time.Duration
	// DelayNotification is the age, of a second at least, at which the sender
	// of a message that still waits is told so, once for each recipient:
	// anonymous clients without the right to relay if they asked for it by
	// NOTIFY=DELAY. Negative: never. Defaults to 4 hours.
	DelayNotification time.Duration
}

// WithDefaults returns r with the defaults of its fields filled in.
func (r Retry) WithDefaults() Retry {
	const m = time.Minute
	if len(r.Schedule) == 0 {
		// Glitches, then transient failures, then long waits.
		r.Schedule = []time.Duration{
			m, m, m, m, 5 * m, 5 * m, 5 * m, 5 * m, 5 * m, 5 * m, 10 * m,
		}
	}
	if r.Expires == 0 {
		r.Expires = 48 * time.Hour
	}
	if r.DelayNotification == 0 {
		r.DelayNotification = 4 * time.Hour
	}
	return r
}

// Wait returns how long to wait after that many failed attempts, without
// jitter.
func (r Retry) Wait(attempts int) time.Duration {
	if len(r.Schedule) == 0 {
		r = r.WithDefaults()
	}
	return r.Schedule[min(max(attempts, 1), len(r.Schedule))-1]
}
