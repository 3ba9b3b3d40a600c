package header

import "bytes"

// Prefixes of the header fields by which the servers of an organization talk to
// each other. A client that may not set them could use them to pass for one of
// those servers.
const (
	ExchangeOrganization = "X-MS-Exchange-Organization-"
	ExchangeForest       = "X-MS-Exchange-Forest-"
	// Organization begins the relay's own fields of that kind.
	Organization = "X-Postern-Organization-"
)

// Firewall tells which fields a message may bring along or take with it. The
// zero Firewall lets none of them through.
type Firewall struct {
	// Routing lets Received and Resent- fields pass.
	Routing bool
	// Organization lets X-MS-Exchange-Organization- and X-Postern-Organization-
	// fields pass.
	Organization bool
	// Forest lets X-MS-Exchange-Forest- fields pass.
	Forest bool
	// Own reports whether an Authentication-Results field claims by its
	// authserv-id to be the organization's own: such a field does not pass (RFC
	// 8601 section 5). Defaults to nil, which lets all pass.
	Own func(authServID string) bool
}

// Apply removes from h what does not pass, and Bcc and Resent-Bcc always
// (RFC 5322 section 3.6.3). It returns the number of fields removed.
func (w Firewall) Apply(h *Header) int {
	return h.Remove(func(f Field) bool { return !w.Passes(f) })
}

// Passes reports whether the field may stay.
func (w Firewall) Passes(f Field) bool {
	switch lower(f.raw[0]) {
	case 'a':
		return w.Own == nil || !f.Is("Authentication-Results") || !w.Own(authServID(f.RawValue()))
	case 'b':
		return !f.Is("Bcc")
	case 'r':
		if f.Is("Resent-Bcc") {
			return false
		}
		return w.Routing || !f.Is("Received") && !f.HasPrefix("Resent-")
	case 'x':
		return (w.Organization || !f.HasPrefix(
			ExchangeOrganization,
		) && !f.HasPrefix(Organization)) &&
			(w.Forest || !f.HasPrefix(ExchangeForest))
	}
	return true
}

// authServID returns who says that he wrote an Authentication-Results field:
// its first word outside comments, or quoted string (RFC 8601 section 2.2).
func authServID(value []byte) string {
	const white = " \t\r\n"
	value = bytes.TrimLeft(value, white)
	for len(value) > 0 && value[0] == '(' {
		end := commentEnd(string(value), 0)
		if end < 0 {
			return ""
		}
		value = bytes.TrimLeft(value[end:], white)
	}
	if len(value) > 0 && value[0] == '"' {
		end := quotedEnd(string(value), 0)
		if end < 0 {
			return ""
		}
		return unquote(string(value[1 : end-1]))
	}
	if i := bytes.IndexAny(value, white+";("); i >= 0 {
		value = value[:i]
	}
	return string(value)
}

// unquote takes the escapes out of what stood in quotes.
func unquote(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}
