package domains

import (
	"errors"
	"strings"
)

// ErrAddress is matched by every error of [Parse], [ParsePath] and
// [ParseDomain].
var ErrAddress = errors.New("domains: invalid address")

// syntaxError says what is wrong with an address. It never holds a part of
// the input, so it is safe to log.
type syntaxError string

func (e syntaxError) Error() string { return "domains: invalid address: " + string(e) }
func (e syntaxError) Unwrap() error { return ErrAddress }

// Address is a mailbox as RFC 5321 section 4.1.2 writes it. It prints what it
// was parsed from, so that no later reader can see another mailbox; where that
// is not of the RFC's form, it prints the one that is.
//
// The zero Address is the null reverse-path, written <> on the wire.
// Addresses are comparable values; == compares the spelling. Use [Address.Key]
// to compare mailboxes.
type Address struct {
	text   string // as parsed or in the RFC's form, without angle brackets
	local  string // the local part without quotes and escapes
	domain string // lower case, A-labels, no trailing dot; "" for <postmaster>
	flags  flags
}

type flags uint8

const (
	localUTF8  flags = 1 << iota // the local part is not all ASCII
	domainUTF8                   // the spelling of the domain is not all ASCII
	mustQuote                    // the local part is no dot-string
)

// String returns the mailbox as it was parsed, in the form that [Parse] gives
// it, without angle brackets. The null reverse-path gives the empty string.
func (a Address) String() string { return a.text }

// Local returns the local part with quotes and escapes removed. It may
// contain any printable character, "@" and spaces included: it is for
// comparison, not for building addresses.
func (a Address) Local() string { return a.local }

// Domain returns the domain in lower case with A-labels and without a
// trailing dot, or an address literal in brackets: [192.0.2.1] or
// [IPv6:2001:db8::1], in the form of RFC 5952.
func (a Address) Domain() string { return a.domain }

// IsNull reports whether a is the null reverse-path.
func (a Address) IsNull() bool { return a == Address{} }

// IsLiteral reports whether the domain is an address literal ([192.0.2.1]).
func (a Address) IsLiteral() bool { return isLiteral(a.domain) }

// IsPostmaster reports whether the local part is postmaster, in any case,
// with or without a domain (RFC 5321 section 4.5.1).
func (a Address) IsPostmaster() bool { return isPostmaster(a.local) }

// UTF8 reports whether the spelling needs SMTPUTF8 (RFC 6531) on the wire.
func (a Address) UTF8() bool { return a.flags&(localUTF8|domainUTF8) != 0 }

// ASCII returns the mailbox with its domain in A-labels and reports whether the
// result is all ASCII, that is, whether it can go to a server without SMTPUTF8.
func (a Address) ASCII() (string, bool) {
	ascii := a.flags&localUTF8 == 0
	if a.flags&domainUTF8 == 0 {
		return a.text, ascii
	}
	return a.localText() + "@" + a.domain, ascii
}

// Key returns a canonical spelling for use as a map key or for comparison:
// the local part quoted only where it must be, the domain as [Address.Domain].
// The case of the local part is kept: to look up a recipient use
// [Address.FoldedKey]. <postmaster> gives "postmaster".
func (a Address) Key() string {
	switch {
	case a.domain == "":
		return strings.ToLower(a.text) // <> or <postmaster>, which has no case
	case a.flags&mustQuote != 0:
		return quote(a.local) + "@" + a.domain
	case len(a.text) == len(a.local)+1+len(a.domain) && strings.HasSuffix(a.text, a.domain):
		return a.text
	}
	return a.local + "@" + a.domain
}

// FoldedKey returns the [Address.Key] with the ASCII letters of the local part
// in lower case too. Look recipients up by it: people write Anna@example.com
// and mean anna@example.com, and no provider of today gives both names away.
// Letters beyond ASCII stay as they are.
func (a Address) FoldedKey() string { return fold(a.Key()) }

// WithDomain returns the address with its domain replaced, which completes
// <postmaster>. The local part keeps its spelling. The null reverse-path has no
// local part to keep: it gives an error, as an invalid domain does.
func (a Address) WithDomain(domain string) (Address, error) {
	return Parse(a.localText() + "@" + domain)
}

// MarshalText returns the spelling, as [Address.String] does.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.text), nil }

// UnmarshalText reads what MarshalText wrote: a mailbox, "postmaster" in any
// case, or nothing for the null reverse-path.
func (a *Address) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "" {
		*a = Address{}
		return nil
	}
	if isPostmaster(s) {
		*a = Address{text: s, local: s}
		return nil
	}
	b, err := Parse(s)
	if err != nil {
		return err
	}
	*a = b
	return nil
}

// localText returns the local part as it was written.
func (a Address) localText() string {
	if a.domain == "" {
		return a.text
	}
	return a.text[:strings.LastIndexByte(a.text, '@')] // a domain holds no "@"
}

// isPostmaster compares without regard to case. The length shuts out the
// letters beyond ASCII that fold to ASCII ones.
func isPostmaster(s string) bool {
	const name = "postmaster"
	return len(s) == len(name) && strings.EqualFold(s, name)
}

// quote writes a local part as a quoted string with no needless escapes.
func quote(local string) string {
	var b strings.Builder
	b.Grow(len(local) + 4)
	b.WriteByte('"')
	for i := range len(local) {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}

// fold lowers the ASCII letters of s and allocates only if there are capitals.
func fold(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
