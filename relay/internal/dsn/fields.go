package dsn

import (
	"time"
	"unicode/utf8"
)

func ascii[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 3
}

func isAtom(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 64
}

// isMessageID reports whether s is one msg-id and nothing else.
func isMessageID(s string) bool {
	if len(s) < 3 || len(s) > 250 || s[0] != '<' || s[len(s)-1] != '>' {
		return false
	}
	for i := 1; i < len(s)-1; i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '<' || c == '>' {
			return false
		}
	}
	return true
}

func (t *text) date(name string, at time.Time) {
	if !at.IsZero() {
		t.field(name, at.Format(date))
	}
}

func (t *text) part(boundary, mediaType, encoding string) {
	t.line("--" + boundary)
	t.line("Content-Type: " + mediaType)
	t.line("Content-Transfer-Encoding: " + encoding)
	t.line("")
}
