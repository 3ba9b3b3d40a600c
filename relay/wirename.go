package relay

import (
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/domains"
)

// wireName returns a host name as it goes on the wire: U-labels become A-labels
// (RFC 5890 section 2.3.2.1). What is not the name of a host stays as it is,
// for a check to refuse.
func wireName(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return s
	}
	if name, err := domains.ParseDomain(strings.ToLower(s)); err == nil {
		return name
	}
	return s
}
