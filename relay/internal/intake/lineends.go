package intake

import (
	"bytes"
	"errors"
	"io"

	"github.com/postern-mail/postern/relay/internal/policy"
)

var errNUL = errors.New("relay: the content holds a NUL octet")

// CRLFReader ends every line with CRLF: bare LF becomes CRLF. Bare CR stays,
// since it is refused in headers: a field that a name or a subject brings along
// is not what the application meant. Elsewhere [crWriter] makes a line end of
// it.
type CRLFReader struct {
	r      io.Reader
	raw    [4096]byte
	out    []byte // converted and not read yet
	buf    []byte // of out, where it is not of raw
	cr     bool   // the last octet was CR
	closed error
}

// NewCRLFReader returns content as it is to be stored.
func NewCRLFReader(content io.Reader) *CRLFReader { return &CRLFReader{r: content} }

// Read converts as it reads.
func (c *CRLFReader) Read(p []byte) (int, error) {
	if err := c.fill(); err != nil {
		return 0, err
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// WriteTo writes the rest as it comes, without a buffer of [io.Copy] between.
func (c *CRLFReader) WriteTo(w io.Writer) (done int64, _ error) {
	for {
		switch err := c.fill(); {
		case err == io.EOF:
			return done, nil
		case err != nil:
			return done, err
		}
		n, err := w.Write(c.out)
		c.out = c.out[n:]
		if done += int64(n); err != nil {
			return done, err
		}
	}
}

// fill sees to it that there is something converted, or returns why not.
func (c *CRLFReader) fill() error {
	for len(c.out) == 0 {
		if c.closed != nil {
			return c.closed
		}
		n, err := c.r.Read(c.raw[:])
		if bytes.IndexByte(c.raw[:n], 0) >= 0 {
			// RFC 5322 section 4: nowhere in a message, and no next hop takes
			// it.
			c.closed = policy.NUL.Because(errNUL)
			return c.closed
		}
		c.out, c.closed = c.convert(c.raw[:n]), err
		if err == io.EOF && c.cr {
			c.out = append(c.out, '\n')
			c.cr = false
		}
	}
	return nil
}

// convert returns b with CRLF for every bare LF. It copies only if there is
// one.
func (c *CRLFReader) convert(b []byte) []byte {
	c.buf = c.buf[:0]
	done := 0
	for i := 0; i < len(b); i++ {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			break
		}
		if i += n; i == 0 && c.cr || i > 0 && b[i-1] == '\r' {
			continue
		}
		c.buf = append(append(c.buf, b[done:i]...), '\r')
		done = i
	}
	if len(b) > 0 {
		c.cr = b[len(b)-1] == '\r'
	}
	if done == 0 && len(c.buf) == 0 {
		return b[:len(b):len(b)]
	}
	c.buf = append(c.buf, b[done:]...)
	return c.buf
}

// crWriter makes CRLF of every bare CR. A CR at the end of what it is given
// waits for what follows.
type crWriter struct {
	w   io.Writer
	cr  bool // held back
	buf []byte
}

func (c *crWriter) Write(p []byte) (int, error) {
	if !c.cr && bytes.Count(p, []byte{'\r'}) == bytes.Count(p, []byte("\r\n")) {
		return c.w.Write(p)
	}
	c.buf = c.buf[:0]
	for _, b := range p {
		if c.cr {
			c.buf = append(c.buf, '\r', '\n')
			if c.cr = false; b == '\n' {
				continue
			}
		}
		if c.cr = b == '\r'; !c.cr {
			c.buf = append(c.buf, b)
		}
	}
	if _, err := c.w.Write(c.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}
