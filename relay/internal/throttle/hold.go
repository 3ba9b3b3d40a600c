package throttle

import "time"

// Hold is what keeps a delivery from beginning; the zero Hold does not.
type Hold struct {
	// Until is until when it has to wait.
	Until time.Time
	// Refused is when mail of its kind was refused last; zero unless that
	// speaks for the delivery, so that it may end by its age without an
	// attempt: it was in time then, or one has tried since the rest and was
	// refused. Both are of the steady clock.
	Refused time.Time
}

// hold adds what the throttle says to a hold, if a delivery has to wait until
// then.
func (s *state) hold(h *Hold, until, expires time.Time) {
	if until.IsZero() {
		return
	}
	if until.After(h.Until) {
		h.Until = until
	}
	if s.times == 1 && !expires.After(s.begun) {
		return // only our own downtime has kept it until then
	}
	if s.since.After(h.Refused) {
		h.Refused = s.since
	}
}
