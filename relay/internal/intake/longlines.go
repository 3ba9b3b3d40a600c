package intake

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay/internal/header"
)

// maxLine is the most octets of a line without its CRLF (RFC 5322 section
// 2.1.1).
const maxLine = 998

// lineBreaker breaks overlong lines of a body with CRLF and a space, as Postfix
// does: some next hops cut or refuse them. In base64 and HTML that changes
// nothing, and elsewhere it is the least change. It never parts the octets of a
// UTF-8 character. It does not keep the number of octets it was given equal to
// those it writes.
type lineBreaker struct {
	w   io.Writer
	col int // octets of the current line so far
}

// Write passes whole blocks on as long as their lines are short.
func (b *lineBreaker) Write(p []byte) (int, error) {
	written := 0
	for rest := p; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		line := rest
		if n > 0 {
			line = rest[:n]
		}
		length := len(bytes.TrimRight(line, "\r\n"))
		at := maxLine - b.col
		if length <= at {
			// The rest of a character may come with the next block, where it
			// would not fit.
			at = length - partial(line)
			if n > 0 || at == length || b.col+length+utf8.UTFMax <= maxLine {
				b.col += length
				if n > 0 {
					b.col = 0
				}
				rest = rest[len(line):]
				continue
			}
		}
		cut := len(p) - len(rest) + runeStart(line, at)
		if _, err := b.w.Write(p[written:cut]); err != nil {
			return written, err
		}
		if _, err := io.WriteString(b.w, "\r\n "); err != nil {
			return cut, err
		}
		written, b.col, rest = cut, 1, p[cut:]
	}
	_, err := b.w.Write(p[written:])
	return len(p), err
}

// foldFields breaks the overlong lines of header fields.
func foldFields(h *header.Header) {
	long := false
	for f := range h.Fields() {
		long = long || len(f.Raw()) > maxLine
	}
	if !long {
		return
	}
	h.Rewrite(func(f header.Field, value string) string {
		if len(f.Raw()) <= maxLine {
			return value
		}
		return fold(value, len(f.Raw())-len(value))
	})
}

// fold breaks the overlong lines of a field's value: before white space, which
// changes nothing (RFC 5322 section 2.2.3), or else behind a comma, or else
// anywhere, with a space. col is the length of what stands before the value.
// Lines of nothing but blanks must not be made (RFC 5322 section 3.2.2):
// overlong lines lose the blanks at their ends, all but one at their
// beginnings, and those of a run that does not fit on its line.
func fold(value string, col int) string {
	var out strings.Builder
	for line := range strings.Lines(value) {
		text := strings.TrimRight(line, "\r\n")
		end := line[len(text):]
		if len(text)+col > maxLine {
			text = strings.TrimRight(text, blanks)
			if text == "" && col == 0 {
				continue // it would end the header
			}
			text = text[max(leading(text)-1, 0):]
		}
		for text != "" && len(text)+col > maxLine {
			cut, space := foldAt(text, max(maxLine-col, 0))
			out.WriteString(text[:cut] + "\r\n" + space)
			text = text[cut:]
			text = text[max(leading(text)-1, 0):]
			col = len(space)
		}
		out.WriteString(text + end)
		col = 0
	}
	return out.String()
}

const blanks = " \t"

// leading returns how many blanks a line begins with.
func leading(line string) int { return len(line) - len(strings.TrimLeft(line, blanks)) }

// foldAt returns where to break a line that does not end in blanks, at limit or
// before, and what goes in front of the rest.
func foldAt(line string, limit int) (cut int, space string) {
	first := leading(line)
	if i := strings.LastIndexAny(line[:limit+1], blanks); i > first {
		return i, ""
	}
	if i := strings.LastIndexByte(line[:limit], ',') + 1; i > first {
		return i, " "
	}
	return unescaped(line, runeStart([]byte(line), limit), first), " "
}

// unescaped moves a cut in front of the backslashes before it, where they do
// not begin the line: what follows one must stay behind it.
func unescaped(line string, cut, first int) int {
	if i := len(strings.TrimRight(line[:cut], `\`)); i > first {
		return i
	}
	return cut
}

// partial returns how many octets at the end of a line begin a character that
// is not complete.
func partial(line []byte) int {
	for k := 1; k < utf8.UTFMax && k <= len(line); k++ {
		if c := line[len(line)-k:]; utf8.RuneStart(c[0]) {
			if c[0] >= utf8.RuneSelf && !utf8.FullRune(c) {
				return k
			}
			break
		}
	}
	return 0
}

// runeStart moves a cut to the start of the character it would part.
func runeStart(line []byte, at int) int {
	for back := 0; back < utf8.UTFMax && back <= at; back++ {
		if at-back < len(line) && utf8.RuneStart(line[at-back]) {
			return at - back
		}
	}
	return at
}
