package outbound

import (
	"bytes"
	"errors"
	"io"
	"strconv"
)

// A block of content lies in a buffer behind a gap and before a tail. The gap
// takes the command of a BDAT chunk, or the growth by dot-stuffing, which is at
// most one octet in three; the tail takes the end of DATA. So a block goes out
// in one write and is copied only when it has a line that begins with a dot.
const (
	bufferSize = 64 << 10
	tailSize   = 8
	gapSize    = bufferSize / 4
	blockSize  = bufferSize - gapSize - tailSize
	maxCommand = len("BDAT 65536 LAST\r\n")
	maxBefore  = gapSize - maxCommand // of other commands, ahead of BDAT
)

var errBareLineEnd = errors.New("content has a CR or LF on its own, which DATA cannot carry")

// content reads a message in blocks.
type content struct {
	src  io.ReadCloser
	buf  [bufferSize]byte
	n    int  // octets in the block
	last bool // the block ends the content
	dots stuffing
	head section
}

// begin begins to read src, which it closes in the end.
func (c *content) begin(src io.ReadCloser) error {
	c.src, c.last, c.dots, c.head = src, false, stuffing{bol: true}, section{}
	return c.next()
}

func (c *content) close() {
	if c.src != nil {
		c.src.Close()
		c.src = nil
	}
}

func (c *content) block() []byte { return c.buf[gapSize : gapSize+c.n] }

// next reads the next block.
func (c *content) next() error {
	n, err := io.ReadFull(c.src, c.buf[gapSize:gapSize+blockSize])
	c.n = n
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		c.last, err = true, nil
	}
	return err
}

// chunk returns the block as a BDAT chunk (RFC 3030 section 2), between other
// commands: at most maxBefore before it and tailSize behind.
func (c *content) chunk(before []byte, behind string) ([]byte, error) {
	if err := c.head.check(c.block(), c.last); err != nil {
		return nil, err
	}
	var space [maxCommand]byte
	cmd := strconv.AppendInt(append(space[:0], "BDAT "...), int64(c.n), 10)
	if c.last {
		cmd = append(cmd, " LAST"...)
	}
	cmd = append(cmd, "\r\n"...)
	start := gapSize - len(cmd) - len(before)
	copy(c.buf[start:], before)
	copy(c.buf[gapSize-len(cmd):], cmd)
	return append(c.buf[start:gapSize+c.n], behind...), nil
}

// lines returns the block as part of DATA (RFC 5321 section 4.5.2), with the
// final dot where it ends the content. Content that does not end with CRLF gets
// one, as DATA cannot be ended otherwise.
func (c *content) lines() ([]byte, error) {
	if err := c.head.check(c.block(), c.last); err != nil {
		return nil, err
	}
	out, err := c.dots.stuff(c.buf[:], gapSize, c.n)
	if err != nil || !c.last {
		return out, err
	}
	if c.dots.cr {
		return nil, errBareLineEnd
	}
	if !c.dots.bol {
		out = append(out, "\r\n"...)
	}
	return append(out, ".\r\n"...), nil
}

// stuffing is the state of dot-stuffing between two blocks.
type stuffing struct {
	bol bool // at the beginning of a line
	cr  bool // behind a CR, which an LF must follow
}

// stuff doubles the dots at the beginnings of the lines in buf[from:from+n] and
// returns the result, which lies in buf. from must be more than a third of n. A
// CR or an LF on its own is an error: a peer that takes one for the end of a
// line could be made to see the end of DATA inside of the content.
func (s *stuffing) stuff(buf []byte, from, n int) ([]byte, error) {
	b := buf[from : from+n]
	if n == 0 {
		return b, nil
	}
	lines := bytes.Count(b, []byte{'\n'})
	w, done := -1, 0 // w: end of the output, once it is a copy; done: how far it goes in b
	i := 0           // beginning of a line
	if s.cr {
		if b[0] != '\n' {
			return nil, errBareLineEnd
		}
		lines--
		i = 1
	} else if !s.bol {
		i = -1
	}
	s.cr = false
	for {
		if i >= 0 && i < n && b[i] == '.' {
			w = max(w, 0)
			w += copy(buf[w:], b[done:i+1])
			buf[w] = '.'
			w++
			done = i + 1
		}
		if s.bol = i == n; s.bol {
			break
		}
		i = max(i, 0)
		j := bytes.IndexByte(b[i:], '\r')
		if j < 0 {
			break
		}
		if j += i; j+1 == n {
			s.cr = true
			break
		}
		if b[j+1] != '\n' {
			return nil, errBareLineEnd
		}
		lines--
		i = j + 2
	}
	if lines != 0 {
		return nil, errBareLineEnd
	}
	if w < 0 {
		return b, nil
	}
	w += copy(buf[w:], b[done:])
	return buf[:w], nil
}
