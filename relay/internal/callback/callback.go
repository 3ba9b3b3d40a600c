// Package callback tells what an application does inside of a call of the relay
// from what it does on its own: the end of a relay must not wait for a function
// that waits for the end.
//
// A context would say so too, but not every function gets one, and others may
// not hand theirs on.
package callback

import (
	"reflect"
	"runtime"
)

// Run calls f, which calls the application or may come to. Goroutines that f
// starts are not part of the call.
//
//go:noinline
func Run(f func()) { f() }

// Within reports whether the caller was called by what Run calls, however deep
// inside.
func Within() bool {
	run := reflect.ValueOf(Run).Pointer()
	var pcs [64]uintptr
	for skip := 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		for _, pc := range pcs[:n] {
			// What is inlined has the entry of the function around it.
			if f := runtime.FuncForPC(pc - 1); f != nil && f.Entry() == run {
				return true
			}
		}
		if n < len(pcs) {
			return false
		}
	}
}
