package domains

import (
	"net/netip"
	"strings"
	"unicode"
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
// It takes names of hosts only: labels hold letters, digits and inner hyphens.
// A trailing dot, underscores and a domain that ends in a number are refused.
// U-labels must be valid as they stand: nothing is mapped.
func ParseDomain(s string) (string, error) {
	d, err := canonical(s)
	if err != nil {
		return "", err
	}
	switch {
	case strings.HasSuffix(s, "."):
		return "", syntaxError("empty label in domain")
	case strings.Contains(s, "_"):
		return "", syntaxError("character not allowed in domain")
	case d.written != s:
		return "", syntaxError("domain is not a valid international name")
	}
	return d.name, nil
}

// domain is a domain in an address.
type domain struct {
	name    string // as [Address.Domain]
	written string // as [Address.String] ends
	ascii   bool   // written is all ASCII
}

// canonical reads a domain. It allocates only if the name differs from s.
func canonical(s string) (domain, error) {
	if isLiteral(s) {
		name, err := canonicalLiteral(s)
		return domain{name, s, true}, err
	}
	s = strings.TrimSuffix(s, ".") // of the root, as the DNS writes it
	if len(s) > maxDomain {
		return domain{}, syntaxError("domain too long")
	}
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return international(s)
		}
	}
	// A-labels are taken as they are, even where IDNA would not make them:
	// the DNS sees nothing but their letters either.
	if err := checkName(s); err != nil {
		return domain{}, err
	}
	return domain{fold(s), s, true}, nil
}

// international reads a domain with U-labels. RFC 6531 section 3.3 wants those
// that are canonical already, so the profile is the one that maps nothing.
func international(s string) (domain, error) {
	if !utf8.ValidString(s) {
		return domain{}, syntaxError("domain is not UTF-8")
	}
	d, err := idna.Registration.ToASCII(fold(s))
	if err != nil {
		if s, d, err = lowered(s); err != nil {
			return domain{}, syntaxError("domain is not a valid international name")
		}
	}
	if strings.Count(d, ".") != strings.Count(s, ".") {
		return domain{}, syntaxError("domain changes its labels")
	}
	if err := checkName(d); err != nil {
		return domain{}, err
	}
	return domain{d, s, false}, nil
}

// lowered returns a domain with capitals beyond ASCII in lower case, and its
// A-labels. Those of RFC 5891 and those of UTS 46, which maps more than case,
// must be the same, so that every reader of s means this domain.
func lowered(s string) (low, ascii string, err error) {
	low = strings.Map(func(r rune) rune {
		if l := unicode.ToLower(r); r < utf8.RuneSelf || l >= utf8.RuneSelf {
			return l
		}
		return r // U+212A and its like do not become letters of ASCII
	}, s)
	if ascii, err = idna.Registration.ToASCII(low); err != nil {
		return "", "", err
	}
	if mapped, err := idna.Lookup.ToASCII(s); err != nil || mapped != ascii {
		return "", "", syntaxError("more than the case of letters is mapped")
	}
	return low, ascii, nil
}

// checkName checks the sub-domains of RFC 5321 section 4.1.2. Underscores,
// which it does not have, are in the names of hosts that send mail.
func checkName(s string) error {
	if len(s) > maxDomain {
		return syntaxError("domain too long")
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			if !isLDH(s[i]) && s[i] != '_' {
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
