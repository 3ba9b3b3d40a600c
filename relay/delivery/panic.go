package delivery

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Panic is the error of a transport, a mailbox or another hook of the
// application that has panicked, or has called runtime.Goexit. An attempt that
// fails by it counts as one that crashed: after two in a row the copies that it
// was for are set aside.
type Panic struct {
	// Value is what it panicked with.
	Value any
	// Place is the file and the line of it, Stack that of its goroutine.
	Place, Stack string
}

// Recovered returns the Panic of what recover has returned, which is not nil.
// Call it in the deferred function that has recovered. A Transport that keeps a
// panic to one recipient fails that recipient with it.
func Recovered(v any) *Panic {
	return &Panic{Value: v, Place: panicPlace(), Stack: string(debug.Stack())}
}

// Error returns the place and the value in one line.
func (p *Panic) Error() string { return fmt.Sprintf("panic at %s: %v", p.Place, p.Value) }

// panicPlace returns file and line of the panic that is being recovered from.
func panicPlace() string {
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(0, callers)])
	for begun := false; ; {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic" || f.Function == "runtime.Goexit":
			begun = true
		case begun && !strings.HasPrefix(f.Function, "runtime."):
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if !more {
			return "an unknown place"
		}
	}
}
