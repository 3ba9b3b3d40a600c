package relay

import (
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// TestStepOfTheClockForgetsAttempts sets the wall clock, which parts it from
// the steady one.
func TestStepOfTheClockForgetsAttempts(t *testing.T) {
	id := spool.DeliveryID{Message: spool.NewID(time.Now()), Seq: 1}
	for _, step := range []time.Duration{
		0, time.Second, -time.Second, 3 * time.Hour, -3 * time.Hour,
	} {
		now := time.Now()
		tr := newTried(now)
		tr.note(id, true)
		if !tr.has(id, now.Add(10*time.Hour)) {
			t.Error("time that merely passes ends what was remembered")
		}
		tr.look(now.Round(0).Add(11*time.Hour+step), 11*time.Hour)
		got := len(tr.ids) == 1
		if want := step.Abs() < time.Minute; got != want {
			t.Errorf("after a step of %v the attempt counts: %t, want %t", step, got, want)
		}
		tr.note(id, true)
		tr.note(id, false)
		if len(tr.ids) != 0 {
			t.Error("an ended delivery is remembered")
		}
	}
}
