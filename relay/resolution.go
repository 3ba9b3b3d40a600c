package relay

import (
	"fmt"
	"slices"
)

// Resolution says what is known of a recipient.
type Resolution uint8

// What is known of a recipient.
const (
	// NotAsked: the question has no recipient.
	NotAsked Resolution = iota
	// NotLookedUp: the relay need not know, or asks later.
	NotLookedUp
	// Known: it exists.
	Known
	// Unknown: it does not.
	Unknown
	// LookupFailed: it could not be told.
	LookupFailed
)

var resolutionNames = [...]string{"", "not looked up", "known", "unknown", "lookup failed"}

// String returns the words, such as "not looked up"; empty for NotAsked.
func (r Resolution) String() string {
	if int(r) < len(resolutionNames) {
		return resolutionNames[r]
	}
	return fmt.Sprintf("Resolution(%d)", uint8(r))
}

// MarshalText returns what String does.
func (r Resolution) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the words.
func (r *Resolution) UnmarshalText(b []byte) error {
	i := slices.Index(resolutionNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("relay: unknown resolution %q", b)
	}
	*r = Resolution(i)
	return nil
}
