package smtpd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"time"
)

const (
	// A message may take this long whatever its size, and a second more for
	// every contentRate octets.
	contentGrace = 10 * time.Minute
	contentRate  = 128
	// What is read of a refused message beyond its limit before the connection
	// is closed.
	maxDrain = 1 << 20
	// The same where there is no limit.
	maxDrainUnlimited = 256 << 20
)

var (
	errAborted = errors.New("smtpd: message aborted by the client")
	errUnread  = errors.New("smtpd: the backend accepted a message without reading its end")
	errClosed  = errors.New("smtpd: read of content after its end")
)

// content is the content of one message as the backend reads it: free of
// dot-stuffing, io.EOF only after the true end.
type content struct {
	g      *guard
	open   bool
	chunks bool // sent with BDAT
	binary bool
	repair bool
	limit  int64 // -1 for none

	seg   []byte // cleaned, not yet read; aliases the input or fixed
	fixed []byte // room for repaired lines
	size  int64  // octets of content so far
	start time.Time

	left  int64 // of the current chunk
	last  bool
	acked int64 // size of the current chunk

	bol   bool // DATA: the next octet begins a line
	need  bool // DATA: more input is needed to decide on what is there
	cr    bool // the octet before was a CR
	ended bool // the true end was seen

	delivered bool   // the reader was told io.EOF
	verdict   *Reply // why the message is refused
	aborted   bool   // by RSET, QUIT or EHLO between chunks
	broken    error  // the connection is of no more use
	endless   bool   // too much to drain
}

// begin makes c ready for a message.
func (c *content) begin(g *guard) {
	fixed := c.fixed[:0]
	*c = content{
		g: g, open: true, bol: true, limit: sizeLimit(g.sess.Limits, g.sess.Rights),
		start: time.Now(), fixed: fixed,
	}
	c.repair = g.sess.Connector.RepairLineEndings
	c.binary = g.transaction != nil && g.transaction.Body == "BINARYMIME"
}

// chunk begins a chunk.
func (c *content) chunk(size int64, last bool) {
	c.chunks, c.left, c.acked, c.last = true, size, size, last
	if c.limit >= 0 && size > c.limit-c.size {
		c.verdict = tooLarge()
	}
}

// end forgets the content.
func (c *content) end() {
	c.open = false
	c.seg, c.fixed = nil, nil
}

// Read is io.Reader.
func (c *content) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(c.seg) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.seg)
	c.seg = c.seg[n:]
	return n, nil
}

// WriteTo is io.WriterTo. It writes in the blocks that the socket gave.
func (c *content) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if len(c.seg) > 0 {
			m, err := w.Write(c.seg)
			n += int64(m)
			c.seg = c.seg[m:]
			if err != nil {
				return n, err
			}
			continue
		}
		if err := c.next(); err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

// next sets seg to the next cleaned part. Its error stays.
func (c *content) next() error {
	switch {
	case !c.open:
		return errClosed
	case c.broken != nil:
		return c.broken
	case c.aborted:
		return errAborted
	case c.verdict != nil:
		return c.verdict
	}
	seg, err := c.advance()
	if err == io.EOF {
		if c.cr && !c.binary && !c.repair {
			return c.refuse(badLine())
		}
		if c.cr && c.repair {
			c.cr = false
			c.seg = append(c.fixed[:0], '\r', '\n')
			return nil
		}
		c.delivered = true
		return io.EOF
	}
	if err != nil {
		return err
	}
	if c.limit >= 0 && c.size > c.limit {
		return c.refuse(tooLarge())
	}
	if !c.binary && !c.clean(seg) {
		if !c.repair || bytes.IndexByte(seg, 0) >= 0 {
			return c.refuse(badLine())
		}
		seg = c.mend(seg)
	}
	c.seg = seg
	return nil
}

func badLine() *Reply {
	return refusal(550, "5.6.11", "Bare CR, bare LF and NUL are not allowed in a message")
}

func (c *content) refuse(r *Reply) error {
	c.verdict = r
	return r
}

// advance takes the next part of the content from the input. It returns io.EOF
// after the true end.
func (c *content) advance() ([]byte, error) {
	if c.chunks {
		return c.advanceChunk()
	}
	for !c.ended {
		if c.need || c.g.r == c.g.w {
			if err := c.fill(); err != nil {
				return nil, err
			}
			c.need = false
		}
		in := c.g.in[c.g.r:c.g.w]
		out, used := c.undot(in)
		c.g.r += used
		c.need = used < len(in)
		if out > 0 {
			c.size += int64(out)
			return in[:out], nil
		}
	}
	return nil, io.EOF
}

// undot takes dot-stuffing out of b in place and looks for the end of the
// content (RFC 5321 section 4.5.2). It returns how much clean content is at the
// start of b and how much of b is used up; what is left must be seen again
// together with what follows. Only CRLF.CRLF ends the content: a lone CR or LF
// does not begin a line.
func (c *content) undot(b []byte) (out, used int) {
	for used < len(b) {
		if c.bol && b[used] == '.' {
			switch rest := b[used:]; {
			case len(rest) < 2, len(rest) == 2 && rest[1] == '\r':
				return out, used
			case rest[1] == '\r' && rest[2] == '\n':
				c.ended = true
				return out, used + 3
			}
			used++
		}
		line := b[used:]
		if i := bytes.Index(line, []byte("\r\n.")); i >= 0 {
			line, c.bol = line[:i+2], true
		} else {
			c.bol = bytes.HasSuffix(line, []byte("\r\n"))
			if line[len(line)-1] == '\r' {
				// The CR is part of an end of line, or not: the next octet
				// tells.
				line = line[:len(line)-1]
			}
		}
		if out != used {
			copy(b[out:], line)
		}
		out += len(line)
		used += len(line)
		if used == len(b)-1 && b[used] == '\r' {
			break
		}
	}
	return out, used
}

// advanceChunk is advance for BDAT (RFC 3030 section 2).
func (c *content) advanceChunk() ([]byte, error) {
	for c.left == 0 {
		if c.last {
			c.ended = true
			return nil, io.EOF
		}
		if err := c.nextChunk(); err != nil {
			return nil, err
		}
	}
	if c.g.r == c.g.w {
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	n := int(min(c.left, int64(c.g.w-c.g.r)))
	seg := c.g.in[c.g.r : c.g.r+n]
	c.g.r += n
	c.left -= int64(n)
	c.size += int64(n)
	return seg, nil
}

// nextChunk acknowledges the chunk and waits for the next.
func (c *content) nextChunk() error {
	g := c.g
	g.out = append(g.out, "250 2.0.0 "...)
	g.out = strconv.AppendInt(g.out, c.acked, 10)
	g.out = append(g.out, " octets received\r\n"...)
	for !g.hangup {
		line, err := g.line(maxCommand)
		if err != nil {
			break
		}
		switch v, arg := verb(string(line)); v {
		case "BDAT":
			size, last, ok := parseBdat(arg)
			if !ok {
				g.badChunk()
				break
			}
			if size == 0 && !last && !g.uselessCommand() {
				break
			}
			if c.chunk(size, last); c.verdict != nil {
				return c.verdict
			}
			return nil
		case "RSET", "QUIT", "EHLO", "HELO":
			g.unread(len(line))
			c.aborted = true
			return errAborted
		case "NOOP":
			g.noop()
		default:
			g.protocolErrorAt(
				"data", refusal(503, "5.5.1", "Only BDAT continues a message that began with BDAT"),
			)
		}
	}
	c.broken = io.ErrUnexpectedEOF
	return c.broken
}

// fill reads more of the content. Its error is never io.EOF.
func (c *content) fill() error {
	g := c.g
	until := g.deadline(g.sess.Limits.InactivityTimeout)
	if slow := c.start.Add(
		contentGrace + time.Duration(c.size/contentRate)*time.Second,
	); until.IsZero() || slow.Before(until) {
		until = slow
	}
	if err := g.fill(until, false); err != nil {
		g.lost(err, false)
		c.broken = io.ErrUnexpectedEOF
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.broken = os.ErrDeadlineExceeded
		}
		return c.broken
	}
	return nil
}

// drain reads to the true end of the content, so that none of it is taken for a
// command.
func (c *content) drain() {
	c.seg = nil
	most := c.size + maxDrainUnlimited
	if c.limit >= 0 {
		most = max(c.size, 2*c.limit) + maxDrain
	}
	if c.chunks && c.verdict != nil {
		c.last = true
	}
	for c.broken == nil && !c.aborted && !c.ended {
		if c.chunks {
			// A message that fails ends with the chunk at hand.
			c.last = true
			if c.size+c.left > most {
				c.endless = true
				return
			}
		}
		if c.size > most {
			c.endless = true
			return
		}
		if _, err := c.advance(); err == io.EOF {
			return
		}
	}
}

// clean reports whether b, following what came before, has neither NUL nor a CR
// or LF on its own. A CR at the end is judged with what follows.
func (c *content) clean(b []byte) bool {
	ok := bytes.IndexByte(b, 0) < 0
	if c.cr {
		if c.repair {
			// The CR was held back.
			return false
		}
		if b[0] != '\n' {
			ok = false
		} else {
			b = b[1:]
		}
	}
	c.cr = false
	if n := len(b); n > 0 && b[n-1] == '\r' {
		if c.repair {
			return false
		}
		c.cr = true
		b = b[:n-1]
	}
	if !ok {
		return false
	}
	pairs := bytes.Count(b, []byte("\r\n"))
	return pairs == bytes.Count(b, []byte{'\n'}) && pairs == bytes.Count(b, []byte{'\r'})
}

// mend makes CRLF of every CR and LF on its own. A CR at the end is held back.
func (c *content) mend(b []byte) []byte {
	out := c.fixed[:0]
	for _, ch := range b {
		switch {
		case ch == '\n':
			out = append(out, '\r', '\n')
			c.cr = false
			continue
		case c.cr:
			out = append(out, '\r', '\n')
		}
		if c.cr = ch == '\r'; !c.cr {
			out = append(out, ch)
		}
	}
	c.fixed = out
	return out
}
