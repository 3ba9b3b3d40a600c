package dsn

import (
	"unicode"
	"unicode/utf8"
)

const (
	foldAt = 78
	// maxValue bounds a value, so that no line comes near 998 octets even where
	// it cannot be folded.
	maxValue = 900
)

// text gathers lines. What it is given in pieces is made harmless: it stays on
// the line it is put on, or on folded ones.
type text struct {
	b    []byte
	utf8 bool // characters beyond ASCII may stay
}

// line writes a line of ours as it is.
func (t *text) line(s string) {
	t.b = append(t.b, s...)
	t.b = append(t.b, '\r', '\n')
}

// field writes a header field whose value is the pieces put together.
func (t *text) field(name string, pieces ...string) {
	t.b = append(t.b, name...)
	t.b = append(t.b, ": "...)
	t.fold(len(name)+2, " ", pieces)
}

// words writes a paragraph of plain text, each line after indent.
func (t *text) words(indent string, pieces ...string) {
	t.b = append(t.b, indent...)
	t.fold(len(indent), indent, pieces)
}

// fold writes pieces from column on and goes on after indent in a new line at a
// space that comes too late. Control characters, unprintable ones, and those
// that may not stay are replaced; runs of spaces become one.
func (t *text) fold(column int, indent string, pieces []string) {
	start := len(t.b)
	line := start - column // where the line begins
	space := -1            // the last space in this line
	for _, s := range pieces {
		for _, c := range s[:min(len(s), maxValue)] {
			switch {
			case c == ' ' || unicode.IsControl(c):
				if n := len(t.b); n == start || t.b[n-1] == ' ' {
					continue
				}
				c = ' '
			case c >= utf8.RuneSelf && (!t.utf8 || c == utf8.RuneError || !unicode.IsPrint(c)):
				c = '?'
			}
			if c == ' ' {
				space = len(t.b)
			}
			if len(t.b)-start >= maxValue {
				break
			}
			t.b = utf8.AppendRune(t.b, c)
			if len(t.b)-line > foldAt && space >= 0 && space < len(t.b)-1 {
				tail := string(t.b[space+1:])
				t.b = append(t.b[:space], '\r', '\n')
				line = len(t.b)
				t.b = append(t.b, indent...)
				t.b = append(t.b, tail...)
				space = -1
			}
		}
	}
	for n := len(t.b); n > start && t.b[n-1] == ' '; n = len(t.b) {
		t.b = t.b[:n-1]
	}
	t.b = append(t.b, '\r', '\n')
}
