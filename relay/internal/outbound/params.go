package outbound

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	errAddress   = errors.New("address not fit for the wire")
	errParameter = errors.New("parameter not fit for the wire")
)

// maxPath bounds an address on the wire; RFC 5321 section 4.5.3.1 asks for 256
// octets at least.
const maxPath = 1000

// fitAddress tells whether an address can stand in angle brackets without
// ending them or its line.
func fitAddress(a string) bool {
	if len(a) > maxPath {
		return false
	}
	quoted := false
	for i := 0; i < len(a); i++ {
		switch c := a[i]; {
		case c < ' ' || c == 0x7f:
			return false
		case c == '"':
			quoted = !quoted
		case c == '\\':
			if i++; !quoted || i == len(a) || a[i] < ' ' || a[i] == 0x7f {
				return false
			}
		case !quoted && (c == ' ' || c == '<' || c == '>'):
			return false
		}
	}
	return !quoted
}

// fitText tells whether s is free of control characters.
func fitText(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// fitWord tells whether s is one word of printable ASCII.
func fitWord(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

const hexDigits = "0123456789ABCDEF"

// appendXtext encodes s as xtext (RFC 3461 section 4).
func appendXtext(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '+' || c == '=' {
			b = append(b, '+', hexDigits[c>>4], hexDigits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

// appendORCPT encodes an original recipient, "type;address". An
// internationalized address is written as utf-8-addr-unitext where the peer
// takes SMTPUTF8 and as utf-8-addr-xtext elsewhere (RFC 6533 section 3).
func appendORCPT(b []byte, s string, unitext bool) []byte {
	kind, addr, ok := strings.Cut(s, ";")
	if b = appendXtext(b, kind); !ok {
		return b
	}
	b = append(b, ';')
	if !strings.EqualFold(kind, "utf-8") {
		return appendXtext(b, addr)
	}
	for _, r := range addr {
		switch {
		case r <= ' ' || r == 0x7f || r == '+' || r == '=' || r == '\\',
			r >= utf8.RuneSelf && !unitext:
			b = append(b, `\x{`...)
			b = strconv.AppendInt(b, int64(r), 16)
			b = append(b, '}')
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}
