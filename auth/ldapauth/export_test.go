package ldapauth

import "time"

var (
	Fill   = fill
	Sender = sender
)

// SetClock replaces the clock of a Verifier.
func SetClock(v *Verifier, now func() time.Time) {
	v.searches.now, v.binds.now = now, now
}
