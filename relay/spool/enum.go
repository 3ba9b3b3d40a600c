package spool

import (
	"fmt"
	"slices"
	"strings"
)

// Return tells how much of a message the reports about it show (RFC 3461
// section 4.3). Empty leaves it to who writes the report.
type Return string

// The values of RET.
const (
	ReturnFull    Return = "FULL"
	ReturnHeaders Return = "HDRS"
)

// Body tells how the content of a message is encoded (RFC 6152, RFC 3030).
// Empty is Body7Bit.
type Body string

// The values of BODY.
const (
	Body7Bit       Body = "7BIT"
	Body8BitMIME   Body = "8BITMIME"
	BodyBinaryMIME Body = "BINARYMIME"
)

// MarshalText returns the word as it stands in MAIL FROM, and fails for
// another.
func (r Return) MarshalText() ([]byte, error) { return text(r, r.known()...) }

// UnmarshalText reads a word in whatever case; empty is empty.
func (r *Return) UnmarshalText(b []byte) error { return parse(r, b, r.known()...) }

func (Return) known() []Return { return []Return{"", ReturnFull, ReturnHeaders} }

// MarshalText returns the word as it stands in MAIL FROM, and fails for
// another.
func (b Body) MarshalText() ([]byte, error) { return text(b, b.known()...) }

// UnmarshalText reads a word in whatever case; empty is empty.
func (b *Body) UnmarshalText(t []byte) error { return parse(b, t, b.known()...) }

func (Body) known() []Body { return []Body{"", Body7Bit, Body8BitMIME, BodyBinaryMIME} }

func text[T ~string](v T, known ...T) ([]byte, error) {
	if !slices.Contains(known, v) {
		return nil, fmt.Errorf("spool: unknown word %q", v)
	}
	return []byte(v), nil
}

func parse[T ~string](v *T, b []byte, known ...T) error {
	word := T(strings.ToUpper(string(b)))
	if !slices.Contains(known, word) {
		return fmt.Errorf("spool: unknown word %q", b)
	}
	*v = word
	return nil
}
