package domains

import "errors"

// ErrAddress is matched by every error of [Parse] and [ParsePath].
var ErrAddress = errors.New("domains: invalid address")

// Address is a mailbox as RFC 5321 section 4.1.2 writes it. It prints exactly
// what it was parsed from, so that no later reader can see another mailbox.
//
// The zero Address is the null reverse-path, written <> on the wire.
// Addresses are comparable values; == compares the spelling. Use [Address.Key]
// to compare mailboxes.
type Address struct {
	text   string // as parsed, without angle brackets
	local  string // the local part without quotes and escapes
	domain string // lower case, A-labels, no trailing dot; "" for <postmaster>
	flags  uint8
}

// Parse reads a bare mailbox: local@domain, without angle brackets.
func Parse(s string) (Address, error) { panic("domains: Parse") }

// MustParse is Parse for literals in tests and examples. It panics on error.
func MustParse(s string) Address { panic("domains: MustParse") }

// ParsePath reads the path at the start of s, which is what follows FROM: or
// TO: in a command, and returns what follows the path. Source routes
// (<@a,@b:x@y>) are accepted and dropped, as RFC 5321 appendix C asks.
// "<>" gives the null Address; "<postmaster>" gives an address whose domain is empty.
func ParsePath(s string) (a Address, rest string, err error) { panic("domains: ParsePath") }

// String returns the mailbox as it was parsed, without angle brackets.
func (a Address) String() string { return a.text }

// Local returns the local part with quotes and escapes removed.
func (a Address) Local() string { return a.local }

// Domain returns the domain in lower case with A-labels and without a
// trailing dot, or an address literal in brackets.
func (a Address) Domain() string { return a.domain }

// IsNull reports whether a is the null reverse-path.
func (a Address) IsNull() bool { return a == Address{} }

// IsLiteral reports whether the domain is an address literal ([192.0.2.1]).
func (a Address) IsLiteral() bool { panic("domains: IsLiteral") }

// UTF8 reports whether the spelling needs SMTPUTF8 (RFC 6531) on the wire.
func (a Address) UTF8() bool { panic("domains: UTF8") }

// ASCII returns the mailbox with its domain in A-labels and reports whether
// the result is all ASCII, that is, whether it can go to a server without SMTPUTF8.
func (a Address) ASCII() (string, bool) { panic("domains: ASCII") }

// Key returns a canonical spelling for use as a map key or for comparison:
// the local part quoted only where it must be, the domain as [Address.Domain].
// The case of the local part is kept.
func (a Address) Key() string { panic("domains: Key") }
