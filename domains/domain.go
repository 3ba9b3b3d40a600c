package domains

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxDomain = 255 // RFC 5321 section 4.5.3.1.2
	maxLabel  = 63  // RFC 1035 section 2.3.4
)

// ParseDomain returns a domain or an address literal in the form of
// [Address.Domain]: lower case, A-labels, no trailing dot. Every error matches
// [ErrAddress].
//
// Labels hold letters, digits and inner hyphens. A trailing dot and a domain
// that ends in a number are refused. U-labels must be valid as they stand:
// nothing is mapped.
func ParseDomain(s string) (string, error) {
	d, _, err := canonical(s)
	return d, err
}

// canonical returns the canonical form of s and whether s is all ASCII. It
// allocates only if the two differ.
func canonical(s string) (domain string, ascii bool, err error) {
	if isLiteral(s) {
		domain, err = canonicalLiteral(s)
		return domain, true, err
	}
	if len(s) > maxDomain {
		return "", false, syntaxError("domain too long")
	}
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			domain, err = toASCII(s)
			return domain, false, err
		}
	}
	// A-labels are taken as they are, even where IDNA would not make them:
	// the DNS sees nothing but their letters either.
	if err := checkName(s); err != nil {
		return "", false, err
	}
	return fold(s), true, nil
}

// toASCII returns the A-labels of a domain with U-labels. RFC 6531 section
// 3.3 wants U-labels, which are canonical already, so the profile is the one that maps nothing.
func toASCII(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", syntaxError("domain is not UTF-8")
	}
	d, err := idna.Registration.ToASCII(fold(s))
	if err != nil {
		return "", syntaxError("domain is not a valid international name")
	}
	if strings.Count(d, ".") != strings.Count(s, ".") {
		return "", syntaxError("domain changes its labels")
	}
	if err := checkName(d); err != nil {
		return "", err
	}
	return d, nil
}

// checkName checks the sub-domains of RFC 5321 section 4.1.2.
func checkName(s string) error {
	if len(s) > maxDomain {
		return syntaxError("domain too long")
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			if !isLDH(s[i]) {
				return syntaxError("character not allowed in domain")
			}
			continue
		}
		switch n := i - start; {
		case n == 0:
			return syntaxError("empty label in domain")
		case n > maxLabel:
			return syntaxError("label too long in domain")
		case s[start] == '-' || s[i-1] == '-':
			return syntaxError("misplaced hyphen in domain")
		case i == len(s) && isNumber(s[start:]):
			return syntaxError("domain ends in a number")
		}
		start = i + 1
	}
	return nil
}

func isLDH(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-'
}

// isNumber reports whether a last label makes inet_aton take a name for an
// address: 127.1, 0x7f.1, 0x7f000001.
func isNumber(label string) bool {
	const digits, hex = "0123456789", "0123456789abcdefABCDEF"
	if len(label) >= 2 && label[0] == '0' && label[1]|0x20 == 'x' {
		return strings.Trim(label[2:], hex) == ""
	}
	return strings.Trim(label, digits) == ""
}

func isLiteral(s string) bool { return strings.HasPrefix(s, "[") }

// canonicalLiteral reads an address literal of RFC 5321 section 4.1.3. An IPv4
// address mapped into IPv6 is that IPv4 address.
func canonicalLiteral(s string) (string, error) {
	const tag = "[ipv6:"
	if !strings.HasSuffix(s, "]") {
		return "", syntaxError("malformed address literal")
	}
	in, v6 := s[1:len(s)-1], false
	if len(s) > len(tag) && fold(s[:len(tag)]) == tag {
		in, v6 = s[len(tag):len(s)-1], true
	}
	ip, err := netip.ParseAddr(in)
	if err != nil || ip.Is6() != v6 || ip.Zone() != "" {
		return "", syntaxError("malformed address literal")
	}
	ip = ip.Unmap()
	d := make([]byte, 0, len("[IPv6:]")+39)
	d = append(d, '[')
	if ip.Is6() {
		d = append(d, "IPv6:"...)
	}
	d = append(ip.AppendTo(d), ']')
	if string(d) == s {
		return s, nil
	}
	return string(d), nil
}
