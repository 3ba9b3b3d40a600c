package callback_test

import (
	"testing"

	"github.com/postern-mail/postern/relay/internal/callback"
)

// deep asks from so many calls further down.
//
//go:noinline
func deep(n int) bool {
	if n == 0 {
		return callback.Within()
	}
	return deep(n - 1)
}

// What counts is what is on the stack, however deep, and nothing else.
func TestCallsAreToldFromOthers(t *testing.T) {
	for _, depth := range []int{0, 1, 55, 60, 61, 62, 63, 64, 65, 1000} {
		if deep(depth) {
			t.Errorf("outside, %d deep: within", depth)
		}
		callback.Run(func() {
			if !deep(depth) {
				t.Errorf("inside, %d deep: not within", depth)
			}
		})
	}
	if callback.Within() {
		t.Error("behind a call: within")
	}
}

func TestGoroutinesOfACallAreOnTheirOwn(t *testing.T) {
	within := make(chan bool)
	callback.Run(func() { go func() { within <- callback.Within() }() })
	if <-within {
		t.Error("a goroutine that was started inside is within")
	}
	go callback.Run(func() { within <- callback.Within() })
	if !<-within {
		t.Error("a goroutine that is a call is not within")
	}
}

func TestPanicEndsACall(t *testing.T) {
	func() {
		defer func() { _ = recover() }()
		callback.Run(func() { panic("x") })
	}()
	if callback.Within() {
		t.Error("within")
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	n := 0
	if a := testing.AllocsPerRun(100, func() { callback.Run(func() { n++ }) }); a > 0 {
		t.Errorf("%v allocations", a)
	}
}
