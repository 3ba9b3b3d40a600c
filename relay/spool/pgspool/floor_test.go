package pgspool

import (
	"testing"
	"time"
)

// TestFloor passes over events only when whoever could still commit among them
// has ended, and looks at all of them now and then.
func TestFloor(t *testing.T) {
	q, start := newSequencer(), time.Now()
	var floor int64
	look := func(at time.Duration, top int64) {
		now := start.Add(at)
		floor = q.floor(now)
		q.note(now, floor, top)
	}
	whole := time.Duration(0)
	for at := time.Duration(0); at < 10*time.Minute; at += 100 * time.Millisecond {
		look(at, int64(at/time.Second))
		switch {
		case floor == 0:
			whole = at
		case floor > int64((at-settledAfter)/time.Second):
			t.Fatalf("after %v all up to %d are passed over", at, floor)
		case floor < int64((at-settledAfter-2*markEvery)/time.Second):
			t.Fatalf("after %v only those up to %d are passed over", at, floor)
		}
		if at-whole > wholeEvery {
			t.Fatalf("after %v there was no look at all for %v", at, at-whole)
		}
		if n := len(q.marks); n > int(settledAfter/markEvery)+2 {
			t.Fatalf("%d marks", n)
		}
	}
	look(10*time.Minute+time.Second, 3) // another server, that knows less
	look(10*time.Minute+2*time.Second, 4)
	if floor != 0 {
		t.Fatalf("all up to %d are passed over, and the last id is 4", floor)
	}
}
