package spool

import (
	"fmt"
	"strings"
)

// Notify is the set of reports that a sender asked for (RFC 3461 section 4.1).
// Zero means that nothing was asked: failure and delay are reported, success is
// not.
type Notify uint8

// The values of NOTIFY.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

func (n Notify) words() []string {
	var w []string
	for i, name := range []string{"NEVER", "SUCCESS", "FAILURE", "DELAY"} {
		if n&(1<<i) != 0 {
			w = append(w, name)
		}
	}
	return w
}

// String returns the parameter's value as it stands in RCPT TO; empty for zero.
func (n Notify) String() string { return strings.Join(n.words(), ",") }

// ParseNotify reads the value of a NOTIFY parameter; empty is zero. NEVER
// stands alone.
func ParseNotify(s string) (Notify, error) {
	var n Notify
	if s == "" {
		return 0, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		switch strings.ToUpper(word) {
		case "NEVER":
			n |= NotifyNever
		case "SUCCESS":
			n |= NotifySuccess
		case "FAILURE":
			n |= NotifyFailure
		case "DELAY":
			n |= NotifyDelay
		default:
			return 0, fmt.Errorf("spool: unknown notification %q", word)
		}
	}
	// RFC 3461 section 4.1: NEVER is not combined with other words.
	if n&NotifyNever != 0 && n != NotifyNever {
		return 0, fmt.Errorf("spool: NEVER together with other notifications")
	}
	return n, nil
}

// MarshalText returns what String does.
func (n Notify) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText reads what ParseNotify does.
func (n *Notify) UnmarshalText(b []byte) error {
	v, err := ParseNotify(string(b))
	if err == nil {
		*n = v
	}
	return err
}
