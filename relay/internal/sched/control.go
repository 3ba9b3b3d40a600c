package sched

import (
	"time"

	"github.com/postern-mail/postern/relay/bounce"
)

const (
	slowStart = 5               // places a site begins with
	coolAfter = 3               // failures in a row before a site rests
	coolFirst = time.Second     // its first rest
	coolMax   = time.Minute     // its longest
	partFor   = 1 * time.Second // what a throttle says of a site is kept
)

// control is how many deliveries a site gets at once, by what they have taught.
type control struct {
	limit    int
	steady   bool // it has refused for the rate: no slow start any more
	won      int  // successes since limit has grown
	round    int  // still under way of those at the last refusal
	reached  bool // when last tried
	failures int
	until    time.Time // resting until then
	part     float64   // of limit and rate that a throttle leaves
	partEnds time.Time
}

// learn takes in what an attempt has taught. roof is what the next hop takes.
func (c *control) learn(l Lesson, roof, active int, now time.Time) {
	if c.round > 0 {
		c.round--
	}
	c.reached = l.Health == Reached
	switch {
	case !c.reached:
		c.fail(now)
	case l.Class == bounce.RateLimited:
		c.failures, c.until = 0, time.Time{}
		c.halve(active)
	case l.Class == bounce.System: // of some mail only, it may be
		c.failures, c.until = 0, time.Time{}
	default:
		c.failures, c.until = 0, time.Time{}
		c.grow(roof)
	}
}

// fail counts a failure; after several in a row the site rests.
func (c *control) fail(now time.Time) {
	c.failures++
	if c.failures < coolAfter {
		return
	}
	rest := coolMax
	if n := c.failures - coolAfter; n < 6 {
		rest = min(coolMax, coolFirst<<n)
	}
	c.until = now.Add(rest)
	c.limit, c.steady, c.won = 1, false, 0
}

// halve follows a refusal for the rate, once for all that were under way
// together.
func (c *control) halve(active int) {
	if c.round > 0 {
		return
	}
	c.limit, c.steady, c.won, c.round = max(1, c.limit/2), true, 0, active
}

// grow follows a success: by one for each of them in slow start, then by one
// for as many as may be under way. What began before the last refusal teaches
// nothing of it.
func (c *control) grow(roof int) {
	if c.round > 0 {
		return
	}
	c.won++
	if !c.steady || c.won >= c.limit {
		c.limit, c.won = min(c.limit+1, roof), 0
	}
}

// rested reports whether the site has not rested for a while.
func (c *control) rested(now time.Time) bool {
	return c.failures < coolAfter || now.Sub(c.until) > coolMax
}

// slower is the part of the usual that a throttle leaves to the site.
func (c *control) slower(t Throttles, s Site, now time.Time) float64 {
	if !now.Before(c.partEnds) {
		c.part, c.partEnds = min(max(t.Slower(s), 0.01), 1), now.Add(partFor)
	}
	return c.part
}
