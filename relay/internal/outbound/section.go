package outbound

import (
	"bytes"
	"errors"
)

var errHeaderLines = errors.New("the header is not lines that end with CRLF")

// section follows the header section of a content and sees that it is CRLF
// lines without NUL (RFC 5322 section 2.2): BDAT would carry what is not, and a
// peer that takes a lone CR or LF for the end of a line would find fields that
// nobody has checked.
type section struct {
	ended bool // by the blank line
	line  bool // the current line has octets
	cr    bool // behind a CR, which an LF must follow
}

// check takes the next block of the content; last tells that none follows.
func (s *section) check(b []byte, last bool) error {
	for !s.ended && len(b) > 0 {
		if s.cr {
			if b[0] != '\n' {
				return errHeaderLines
			}
			s.ended, s.line, s.cr, b = !s.line, false, false, b[1:]
			continue
		}
		i := bytes.IndexByte(b, '\r')
		s.cr = i >= 0
		if !s.cr {
			i = len(b)
		}
		if bytes.IndexByte(b[:i], '\n') >= 0 || bytes.IndexByte(b[:i], 0) >= 0 {
			return errHeaderLines
		}
		s.line = s.line || i > 0
		b = b[min(i+1, len(b)):]
	}
	if last && s.cr {
		return errHeaderLines
	}
	return nil
}
