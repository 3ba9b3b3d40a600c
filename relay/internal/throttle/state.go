package throttle

import (
	"math"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/spool"
)

// Of what is slowed down, in hundredths of the full rate.
const (
	full     = 100
	least    = 6
	recovers = 10 // by so much

	slowFor      = 30 * time.Minute // before it recovers
	recoverEvery = 5 * time.Minute
	halveEvery   = 5 * time.Minute // at most
)

// Of what rests.
const (
	reputationRest     = 2 * time.Hour
	authenticationRest = time.Hour
	longest            = 4               // times the first rest
	tryFor             = 5 * time.Minute // then another delivery may try
	tryAgain           = 15 * time.Second
	untried            = 24 * time.Hour // after its end a rest is forgotten
)

// state is a throttle as it is kept.
type state struct {
	id    string
	scope scope
	cause Cause
	begun time.Time
	times int // it was begun, renewed or halved

	slower int       // hundredths, at since; 0 if it rests
	since  time.Time // it was begun, renewed or halved last

	rest     time.Duration
	until    time.Time // the end of the rest
	trying   spool.DeliveryID
	tryUntil time.Time
}

func firstRest(c bounce.Class) time.Duration {
	if c == bounce.Authentication {
		return authenticationRest
	}
	return reputationRest
}

// begin makes what a throttle of its class begins with.
func (s *state) begin(now time.Time) {
	s.begun, s.since, s.times = now, now, 1
	if s.scope.class == bounce.RateLimited {
		s.slower = full / 2
		return
	}
	s.rest = firstRest(s.scope.class)
	s.until = now.Add(s.rest)
}

// again takes in another refusal, and reports whether it changes anything.
func (s *state) again(now time.Time) bool {
	switch {
	case s.slower > 0 && now.Before(s.since.Add(halveEvery)):
		return false
	case s.slower > 0:
		s.slower = max(s.share(now)/2, least)
	case now.Before(s.until): // of an attempt that had begun before
		return false
	default:
		s.rest = min(2*s.rest, longest*firstRest(s.scope.class))
		s.until, s.tryUntil = now.Add(s.rest), time.Time{}
	}
	s.since = now
	s.times++
	return true
}

// share is what is left of the full rate now, in hundredths.
func (s *state) share(now time.Time) int {
	d := now.Sub(s.since) - slowFor
	if d < 0 {
		return s.slower
	}
	return min(s.slower+recovers*int(1+d/recoverEvery), full)
}

// ends is when the throttle ends, or its rest is over.
func (s *state) ends() time.Time {
	if s.slower == 0 {
		return s.until
	}
	steps := math.Ceil(float64(full-s.slower) / recovers)
	return s.since.Add(slowFor + time.Duration(steps-1)*recoverEvery)
}

// over tells whether there is nothing left of the throttle.
func (s *state) over(now time.Time) bool {
	if s.slower > 0 {
		return !now.Before(s.ends())
	}
	return !now.Before(s.until.Add(untried))
}

// wait is until when a delivery waits; zero if it may try.
func (s *state) wait(id spool.DeliveryID, now time.Time) time.Time {
	switch {
	case now.Before(s.until):
		return s.until
	case now.Before(s.tryUntil) && s.trying != id:
		return now.Add(tryAgain)
	}
	return time.Time{}
}

// try lets a delivery try what has rested.
func (s *state) try(id spool.DeliveryID, now time.Time) {
	if s.trying != id || !now.Before(s.tryUntil) {
		s.trying, s.tryUntil = id, now.Add(tryFor)
	}
}

// tried tells that a delivery has tried and learned nothing.
func (s *state) tried(id spool.DeliveryID) {
	if s.trying == id {
		s.tryUntil = time.Time{}
	}
}
