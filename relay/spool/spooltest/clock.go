package spooltest

import "time"

// clock is that of a store under test, and what cannot be exact with it. In a
// bubble everything is, but for the waits.
type clock struct {
	now     func() time.Time
	advance func(time.Duration)
	served  bool          // the store is in a process of its own
	least   time.Duration // what the store tells apart
	margin  time.Duration // how near to its end something is not over yet
	lag     time.Duration // how late a node may be
	// patience is how long to wait for what must come, pause how long between
	// two looks, and quiet how long to see that nothing comes.
	patience, pause, quiet time.Duration
}

// tick sets what the time is now.
func (s *suite) tick() { s.now = s.clock.now() }

// sleep lets time pass.
func (s *suite) sleep(d time.Duration) {
	s.advance(d)
	s.tick()
}

// late reports whether a store has had its time, since begun. If it has not, it
// waits a little.
func (s *suite) late(begun time.Time) bool {
	if time.Since(begun) >= s.lag {
		return true
	}
	time.Sleep(s.pause)
	return false
}

// isWait reports whether a wait is what it is to be: beside a clock that goes
// on, less. What another node has done to it, a node may not know.
func (s *suite) isWait(got, want time.Duration) bool {
	switch {
	case len(s.nodes()) > 1:
		return true
	case !s.served || want == 0:
		return got == want
	case want < 0:
		return got < 0
	}
	return got <= want+s.least && got >= 0
}
