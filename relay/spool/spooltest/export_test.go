package spooltest

import (
	"testing"
	"testing/synctest"
	"time"
)

// RunServedInBubbles is RunServed for a store on the clock of a bubble: what
// takes seconds with a database takes none.
func RunServedInBubbles(t *testing.T, open func(t *testing.T) Served) {
	for _, c := range inBubbles(t, servedCases(), open) {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.runServed(t, inBubble(open(t))) })
		})
	}
}

// RunServedDurableInBubbles is RunServedDurable in the same way.
func RunServedDurableInBubbles(t *testing.T, open func(t *testing.T) (reopen func() Served)) {
	first := func(t *testing.T) Served { return open(t)() }
	for _, c := range inBubbles(t, durableCases(), first) {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reopen := open(t)
				c.runServedDurable(t, func() Served { return inBubble(reopen()) })
			})
		})
	}
}

// inBubbles are the cases of what a store has that is opened in a bubble.
func inBubbles(
	t *testing.T, list []testCase, open func(t *testing.T) Served,
) (some []testCase) {
	synctest.Test(t, func(t *testing.T) { some = ofServed(t, list, open(t)) })
	return some
}

func inBubble(v Served) Served {
	v.now, v.Advance = time.Now, time.Sleep
	return v
}
