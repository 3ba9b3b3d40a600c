// Package spooltest is the conformance suite of package spool: every store
// passes it.
//
//	func TestStore(t *testing.T) {
//		spooltest.Run(t, func(*testing.T) spool.Store { return mystore.New() })
//	}
//
// A store that outlives its process passes RunDurable as well, RunCrash if a
// test can take its power away, and one that notices damage RunDamage. A store
// of which the clock is elsewhere, as that of a database is, passes RunServed
// and RunServedDurable in place of Run and RunDurable. All are worth running
// with the race detector.
package spooltest

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/postern-mail/postern/relay/spool"
)

// Run tests a store, with each optional part that it has. open returns an empty
// one; it is closed when its test ends.
//
// Each case runs in a bubble of testing/synctest, so that hours pass at once:
// open is called in it, and the store's clock is that of package time.
func Run(t *testing.T, open func(t *testing.T) spool.Store) {
	for _, c := range ofBubble(t, cases(), open) {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t)
				t.Cleanup(func() { s.Close() })
				c.test(newSuite(t, s))
			})
		})
	}
}

func cases() []testCase {
	return slices.Concat(
		contentCases(), leaseCases(), settleCases(), concurrentCases(), logCases(), keyCases(),
		managerCases(), sharedCases(), nodesCases(), partCases(),
		expectCases(),
	)
}

// RunDurable tests that a store keeps what it has when it is closed and opened
// again. open is called for each test; what it returns opens the same place
// each time.
func RunDurable(t *testing.T, open func(t *testing.T) (reopen func() spool.Store)) {
	first := func(t *testing.T) spool.Store { return open(t)() }
	for _, c := range ofBubble(t, durableCases(), first) {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opener := open(t)
				s := newSuite(t, opener())
				t.Cleanup(func() { s.Store.Close() })
				s.reopen = func() {
					t.Helper()
					s.ok(s.Store.Close())
					s.Store = opener()
				}
				c.test(s)
			})
		})
	}
}
