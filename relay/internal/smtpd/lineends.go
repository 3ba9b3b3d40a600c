package smtpd

import "bytes"

// lineEnds holds content to lines that end with CRLF, or makes it so.
type lineEnds struct {
	repair bool
	cr     bool   // the octet before was a CR
	fixed  []byte // room for repaired lines
}

// clean returns b as it may stand in a message, following what came before; ok
// is false if it may not.
func (e *lineEnds) clean(b []byte) (clean []byte, ok bool) {
	switch {
	case e.good(b):
		return b, true
	case !e.repair || bytes.IndexByte(b, 0) >= 0:
		return nil, false
	}
	return e.mend(b), true
}

// last returns what was held back until the end of the content; ok is false if
// that may not stand there.
func (e *lineEnds) last() (rest []byte, ok bool) {
	switch {
	case !e.cr:
		return nil, true
	case !e.repair:
		return nil, false
	}
	e.cr = false
	return append(e.fixed[:0], '\r', '\n'), true
}

// good reports whether b, following what came before, has neither NUL nor a CR
// or LF on its own. A CR at the end is judged with what follows.
func (e *lineEnds) good(b []byte) bool {
	ok := bytes.IndexByte(b, 0) < 0
	if e.cr {
		if e.repair {
			// The CR was held back.
			return false
		}
		if b[0] != '\n' {
			ok = false
		} else {
			b = b[1:]
		}
	}
	e.cr = false
	if n := len(b); n > 0 && b[n-1] == '\r' {
		if e.repair {
			return false
		}
		e.cr = true
		b = b[:n-1]
	}
	if !ok {
		return false
	}
	pairs := bytes.Count(b, []byte("\r\n"))
	return pairs == bytes.Count(b, []byte{'\n'}) && pairs == bytes.Count(b, []byte{'\r'})
}

// mend makes CRLF of every CR and LF on its own. A CR at the end is held back.
func (e *lineEnds) mend(b []byte) []byte {
	out := e.fixed[:0]
	for _, ch := range b {
		switch {
		case ch == '\n':
			out = append(out, '\r', '\n')
			e.cr = false
			continue
		case e.cr:
			out = append(out, '\r', '\n')
		}
		if e.cr = ch == '\r'; !e.cr {
			out = append(out, ch)
		}
	}
	e.fixed = out
	return out
}
