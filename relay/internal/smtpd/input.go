package smtpd

import (
	"bytes"
	"sync"
)

const (
	smallInput = 2048 // input buffer of an idle session
	largeInput = 32 << 10
)

// input is what a client has sent and nobody has read: buf[r:w]. It must not
// be copied.
type input struct {
	buf  []byte
	r, w int
	// content says that a message is coming, which keeps the large buffer.
	content  bool
	skipping bool              // in a line already refused for a bare LF
	large    *[largeInput]byte // behind buf, when small is not enough
	pool     *sync.Pool        // of large
	small    [smallInput]byte
}

// init makes the input ready for use.
func (in *input) init(pool *sync.Pool) { in.buf, in.pool = in.small[:], pool }

// pending returns what is there. It is valid until the next read.
func (in *input) pending() []byte { return in.buf[in.r:in.w] }

func (in *input) empty() bool { return in.r == in.w }

// take removes n octets.
func (in *input) take(n int) { in.r += n }

// putBack undoes take.
func (in *input) putBack(n int) { in.r -= n }

// drop forgets what is there.
func (in *input) drop() { in.r, in.w = 0, 0 }

// room returns where the next read may go: behind what is there. It is empty
// when a caller lets more than largeInput octets lie.
func (in *input) room() []byte {
	full := in.w == len(in.buf)
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	switch {
	case in.w < smallInput/2 && in.large != nil && !in.content:
		copy(in.small[:], in.buf[:in.w])
		in.release()
		in.buf = in.small[:]
	case full && in.large == nil:
		// The last read took all there was room for: more is coming.
		in.large = in.pool.Get().(*[largeInput]byte)
		copy(in.large[:], in.buf[:in.w])
		in.buf = in.large[:]
	}
	return in.buf[in.w:]
}

// release gives back the large buffer.
func (in *input) release() {
	if in.large != nil {
		in.pool.Put(in.large)
		in.large, in.buf = nil, nil
	}
}

// lineKind says what cut has found.
type lineKind uint8

const (
	linePart    lineKind = iota // no line yet
	lineWhole                   // a line that ended with CRLF
	lineBare                    // a line that ended with a bare LF
	lineRest                    // the rest of such a line, up to a CRLF or another LF
	lineControl                 // a whole line, but with CR or NUL in it
)

// cut takes the next line, without what ends it, out of the input. Only CRLF
// ends a line (RFC 5321 section 2.3.8): what follows a bare LF up to a CRLF
// belongs to the same line. The first scanned octets hold no LF.
func (in *input) cut(scanned int) ([]byte, lineKind) {
	i := bytes.IndexByte(in.buf[in.r+scanned:in.w], '\n')
	if i < 0 {
		return nil, linePart
	}
	line := in.buf[in.r : in.r+scanned+i]
	in.r += len(line) + 1
	ended := len(line) > 0 && line[len(line)-1] == '\r'
	switch {
	case in.skipping:
		in.skipping = !ended
		return nil, lineRest
	case !ended:
		in.skipping = true
		return nil, lineBare
	}
	line = line[:len(line)-1]
	if bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, 0) >= 0 {
		return line, lineControl
	}
	return line, lineWhole
}
