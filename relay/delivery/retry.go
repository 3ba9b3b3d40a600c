package delivery

import "time"

// Retry is the schedule of attempts.
type Retry struct {
	// MX holds the waits after the first, second, third… failed attempt on a
	// route to mail exchangers, of a second at least; the last repeats. Each is
	// up to a fifth shorter or longer. Defaults to 1, 5, 10, 20 and 40 minutes,
	// then 66: some 48 attempts in 48 hours.
	MX []time.Duration
	// Schedule holds the waits on all other routes: to smart hosts, mailboxes
	// and transports. A jitter of up to a tenth is added to each. Defaults to
	// four times 1 minute, six times 5 minutes, then 10 minutes (Exchange's
	// default timeline).
	Schedule []time.Duration
	// Greylisted is the wait, of a second at least, after a first attempt of
	// which every copy that waits was greylisted, on any route: most hosts want
	// five minutes to pass. A jitter of up to a tenth is added. Defaults to 6
	// minutes.
	Greylisted time.Duration
	// Expires is the age, a second at least, at which a message is given up and
	// its sender told, also while its next hop is down. It gets one attempt
	// first after the relay began, or after the clock was set, unless others
	// like it were refused (Throttling of package relay). Defaults to 48 hours.
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
	if len(r.MX) == 0 {
		// Many hosts that are not ours: the waits grow, and an hour is not
		// hit each time.
		r.MX = []time.Duration{m, 5 * m, 10 * m, 20 * m, 40 * m, 66 * m}
	}
	if len(r.Schedule) == 0 {
		// Glitches, then transient failures, then long waits.
		r.Schedule = []time.Duration{
			m, m, m, m, 5 * m, 5 * m, 5 * m, 5 * m, 5 * m, 5 * m, 10 * m,
		}
	}
	if r.Greylisted == 0 {
		r.Greylisted = 6 * m
	}
	if r.Expires == 0 {
		r.Expires = 48 * time.Hour
	}
	if r.DelayNotification == 0 {
		r.DelayNotification = 4 * time.Hour
	}
	return r
}

// Wait returns how long to wait after that many failed attempts on a route that
// does not lead to mail exchangers, without jitter.
func (r Retry) Wait(attempts int) time.Duration {
	return nth(r.WithDefaults().Schedule, attempts)
}

// WaitMX returns how long to wait after that many failed attempts on a route to
// mail exchangers, without jitter.
func (r Retry) WaitMX(attempts int) time.Duration { return nth(r.WithDefaults().MX, attempts) }

func nth(waits []time.Duration, attempts int) time.Duration {
	return waits[min(max(attempts, 1), len(waits))-1]
}
