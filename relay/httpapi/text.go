package httpapi

import (
	"encoding/base64"
	"mime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// words encodes text for the header (RFC 2047), in the shorter of its
// encodings.
func words(s string) string {
	if isLiteral(s) {
		return literal(s)
	}
	beyond := 0
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			beyond++
		}
	}
	if beyond > len(s)/3 {
		return mime.BEncoding.Encode("utf-8", s)
	}
	return mime.QEncoding.Encode("utf-8", s)
}

// isLiteral reports whether text would be read as an encoded word although
// package mime sees no need to encode it.
func isLiteral(s string) bool { return isASCII(s) && strings.Contains(s, "=?") }

// literal encodes ASCII text whatever it looks like.
func literal(s string) string {
	const octets = 45 // 72 characters of the 75 that RFC 2047 section 2 allows
	var all []string
	for chunk := range slices.Chunk([]byte(s), octets) {
		all = append(all, "=?utf-8?b?"+base64.StdEncoding.EncodeToString(chunk)+"?=")
	}
	return strings.Join(all, " ")
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

func hasLongWord(s string) bool {
	for w := range strings.FieldsSeq(s) {
		if len(w) > maxWord {
			return true
		}
	}
	return false
}

// pointerToken escapes a name for a pointer (RFC 6901 sections 3 and 6).
func pointerToken(s string) string {
	s = strings.NewReplacer("~", "~0", "/", "~1", "%", "%25").Replace(s)
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
