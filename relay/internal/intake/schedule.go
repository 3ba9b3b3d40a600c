package intake

import (
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// Schedule is when a message may be sent, and until when. Zero times are not
// set.
type Schedule struct{ NotBefore, Expires time.Time }

// apply sets the times of deliveries that were made at a time.
func (s Schedule) apply(list []spool.Delivery, now time.Time) {
	for i := range list {
		d := &list[i]
		if s.NotBefore.After(now) {
			d.Due = s.NotBefore
			d.Expires = d.Expires.Add(s.NotBefore.Sub(now))
		}
		if !s.Expires.IsZero() {
			d.Expires = s.Expires
		}
	}
}

// IsWord reports whether a name is 1 to 64 letters, digits, "-", "_" and ".".
func IsWord(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return 0 < len(s) && len(s) <= 64
}

// IsKey reports whether a key is 1 to 255 printable ASCII characters.
func IsKey(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 255
}
