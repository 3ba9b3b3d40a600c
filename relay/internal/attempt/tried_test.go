package attempt

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// TestStepOfTheClockForgetsAttempts sets the wall clock, which parts it from
// the steady one.
func TestStepOfTheClockForgetsAttempts(t *testing.T) {
	for _, step := range []time.Duration{
		0, time.Second, -time.Second, 3 * time.Hour, -3 * time.Hour,
	} {
		synctest.Test(t, func(t *testing.T) { stepClock(t, step) })
	}
}

func stepClock(t *testing.T, step time.Duration) {
	id := spool.DeliveryID{Message: spool.NewID(time.Now()), Seq: 1}
	tr := newTried(time.Now())
	tr.note(id, true)
	time.Sleep(10 * time.Hour)
	if !tr.has(id, time.Now()) {
		t.Error("time that merely passes ends what was remembered")
	}
	time.Sleep(time.Hour)
	got := tr.has(id, time.Now().Add(step))
	want := step.Abs() < time.Minute
	if got != want {
		t.Errorf("after a step of %v the attempt counts: %t, want %t", step, got, want)
	}
	before, after := time.Now().Add(-time.Minute), time.Now()
	tr.spokenFor(id, before, time.Now().Add(step))
	if got := tr.has(id, time.Now().Add(step)); got != want {
		t.Errorf("after a step of %v a refusal before it counts: %t, want %t", step, got, want)
	}
	if tr.spokenFor(id, after, time.Now().Add(step)); !tr.has(id, time.Now().Add(step)) {
		t.Error("a refusal of others does not count")
	}
	tr.note(id, false)
	if len(tr.ids) != 0 {
		t.Error("an ended delivery is remembered")
	}
}

// What was tried here and has ended in another process is forgotten, and what
// is tried again is not.
func TestAttemptsOfLongAgoAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTried(time.Now())
		id := func(n int) spool.DeliveryID {
			return spool.DeliveryID{Message: spool.NewID(time.Now()), Seq: n}
		}
		for i := range 1000 {
			tr.note(id(i), true)
		}
		once, again := id(1), id(2)
		tr.note(once, true)
		for day := range 20 {
			if tr.note(again, true); day <= 4 && !tr.has(once, time.Now()) {
				t.Errorf("forgotten on day %d", day)
			}
			time.Sleep(24 * time.Hour)
			if !tr.has(again, time.Now()) {
				t.Errorf("what is tried each day is forgotten on day %d", day)
			}
		}
		if n := len(tr.ids) + len(tr.old); n > 2 {
			t.Errorf("%d are remembered", n)
		}
		tr.note(again, false)
		if tr.has(again, time.Now()) {
			t.Error("an ended delivery is remembered")
		}
	})
}
