package header

import (
	"bytes"
)

// scanner finds lines in what has been read so far.
type scanner struct {
	h     *Header
	first int // where the first field begins, behind the lines of a mailbox file
	line  int // where the current line begins
	seen  int // up to where no line end was found
	next  int // where the body begins, once the section has ended
	// open is the length of the name that the last field so far consists of:
	// its colon may come with the next line. 0 if it cannot.
	open int
}

// scan takes in the complete lines of the buffer and reports whether the
// section has ended. Then line is where the fields end and next where the body
// begins.
func (s *scanner) scan() bool {
	buf := s.h.buf
	for {
		i := bytes.IndexByte(buf[s.seen:], '\n')
		if i < 0 {
			s.seen = len(buf)
			return false
		}
		end := s.seen + i + 1
		if s.line == 0 && bytes.HasPrefix(buf, []byte(byteOrderMark)) {
			s.first, s.line = len(byteOrderMark), len(byteOrderMark)
		}
		line := buf[s.line:end]
		s.seen = end
		switch {
		case len(line) == 1 || len(line) == 2 && line[0] == '\r':
			if s.line > 0 && s.headless() {
				return s.none()
			}
			s.next = end
			return true
		case line[0] == ' ' || line[0] == '\t':
			if !s.fold(line, end) {
				return s.none()
			}
		default:
			if !s.begin(line, end) {
				return s.none()
			}
		}
		s.line = end
	}
}

// begin takes a line that begins a field, or that is none. It returns false if
// that shows that there is no header section.
func (s *scanner) begin(line []byte, end int) bool {
	h := s.h
	n, open := nameLen(line)
	if len(h.fields) == 0 {
		if n == 0 && isMailboxLine(line) {
			s.first = end
			return true
		}
		if n == 0 {
			return false
		}
	} else if h.fields[0].name == 0 {
		return false
	}
	s.open = 0
	if open {
		s.open, n = n, 0
	}
	h.fields = append(h.fields, span{start: s.line, end: end, name: n})
	return true
}

// fold takes a line that continues a field. It returns false if that shows that
// there is no header section.
func (s *scanner) fold(line []byte, end int) bool {
	h := s.h
	if len(h.fields) == 0 {
		mailbox := s.first > len(byteOrderMark) // it continues the line of a mailbox file
		if mailbox {
			s.first = end
		}
		return mailbox
	}
	last := &h.fields[len(h.fields)-1]
	last.end = end
	if s.open == 0 {
		return true
	}
	switch rest := bytes.TrimLeft(line, " \t"); {
	case rest[0] == ':': // RFC 5322 section 4.5: white space before the colon may be folded
		last.name, s.open = s.open, 0
	case !isLineEnd(rest):
		s.open = 0
	}
	return h.fields[0].name > 0 || s.open > 0
}

// headless reports whether there is no field so far.
func (s *scanner) headless() bool {
	if fields := s.h.fields; len(fields) > 0 {
		return fields[0].name == 0
	}
	n, open := nameLen(s.h.buf[s.line:])
	return n == 0 || open
}

// none settles that there is no header section: all is body. It returns true.
func (s *scanner) none() bool {
	s.h.fields = s.h.fields[:0]
	s.first, s.line, s.next = 0, 0, 0
	return true
}

// past is the length of the section as far as it is known.
func (s *scanner) past(done bool) int64 {
	if done {
		return int64(s.next)
	}
	return int64(len(s.h.buf))
}

// finish ends the section at the end of the content: it completes the last line
// and adds the blank one.
func (s *scanner) finish() {
	h := s.h
	size := len(h.buf)
	if rest := h.buf[s.line:]; len(rest) > 0 && (len(h.fields) > 0 || !s.headless()) {
		if rest[len(rest)-1] != '\r' {
			h.buf = append(h.buf, '\r')
		}
		h.buf = append(h.buf, '\n')
		s.scan()
	}
	switch {
	case s.next > 0:
	case s.headless():
		s.none()
		h.buf = h.buf[:size]
	default:
		h.buf = append(h.buf, '\r', '\n')
		s.scan()
	}
}

// nameLen returns the length of the field name that line begins with, or 0 if
// the line is no field. White space before the colon is the obsolete syntax of
// RFC 5322 section 4.5. The line is open if it ends before the colon, which may
// come with the next.
func nameLen(line []byte) (n int, open bool) {
	for n < len(line) && line[n] > ' ' && line[n] < 0x7f && line[n] != ':' {
		n++
	}
	rest := bytes.TrimLeft(line[n:], " \t")
	switch {
	case isLineEnd(rest):
		return n, n > 0
	case rest[0] == ':':
		return n, false
	}
	return 0, false
}

func isLineEnd(b []byte) bool {
	return len(b) == 0 || b[0] == '\n' || len(b) == 2 && b[0] == '\r' && b[1] == '\n'
}

// byteOrderMark is what an editor may put before a text in UTF-8. It is no part
// of a message.
const byteOrderMark = "\ufeff"

// isMailboxLine knows the line that a mailbox file has before each message (RFC
// 4155), also with the marks of files inside files, and in any case, as in
// Postfix. It is no part of a message.
func isMailboxLine(line []byte) bool {
	return hasPrefixFold(bytes.TrimLeft(line, ">"), "From ")
}
