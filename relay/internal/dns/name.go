package dns

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// canonicalName returns a name in lower case and in A-labels, without a dot at
// the end. It reports false for what cannot be the name of a record.
func canonicalName(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".")
	if strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		if !utf8.ValidString(name) {
			return "", false
		}
		ascii, err := idna.New(
			idna.MapForLookup(), idna.StrictDomainName(false), idna.Transitional(false),
		).ToASCII(name)
		if err != nil {
			return "", false
		}
		name = ascii
	}
	name = strings.ToLower(name)
	return name, isName(name)
}

// isName reports whether a name has labels of 1 to 63 characters that need no
// escapes, 253 in all (RFC 1035 section 2.3.4).
func isName(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	label := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = -1
		case c <= ' ' || c >= 0x7f || strings.IndexByte(`"'$();@\`, c) >= 0:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0
}

// isHost reports whether a name out of a record may be that of a host. The name
// "." stands for none (RFC 7505).
func isHost(s string) bool {
	if s == "." {
		return true
	}
	s = strings.TrimSuffix(s, ".")
	return isName(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && r != '.' &&
			(r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// sameName compares names without regard to case and to a dot at the end.
func sameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}
