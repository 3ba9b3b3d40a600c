package smtpd

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// xtext decodes RFC 3461 section 4.
func xtext(s string) (string, error) {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '=' {
			return "", errSyntax
		} else if c == '+' {
			plain = false
		}
	}
	if plain {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errSyntax
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", errSyntax
		}
		b = append(b, byte(n))
		i += 2
	}
	return string(b), nil
}

// utf8Address decodes utf-8-addr-xtext and, when raw UTF-8 is allowed,
// utf-8-addr-unitext (RFC 6533 section 3).
func utf8Address(s string, raw bool) (string, error) {
	var b strings.Builder
	for s != "" {
		if code, ok := strings.CutPrefix(s, `\x{`); ok {
			hex, rest, ok := strings.Cut(code, "}")
			n, err := strconv.ParseUint(hex, 16, 21)
			if !ok || err != nil || !utf8.ValidRune(rune(n)) || n < 0x20 || n >= 0x7f && n < 0xa0 {
				return "", errSyntax
			}
			b.WriteRune(rune(n))
			s = rest
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError || r < '!' || r == 0x7f || r == '\\' || r == '+' || r == '=' ||
			r > 0x7f && !raw {
			return "", errSyntax
		}
		b.WriteRune(r)
		s = s[n:]
	}
	return b.String(), nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
