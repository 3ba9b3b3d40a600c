package smtpd

import (
	"io"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/relay/internal/policy"
)

// bdat answers BDAT (RFC 3030 section 2). What follows the first chunk is up to
// [chunks].
func (c *conn) bdat(arg string) {
	size, last, ok := parseBdat(arg)
	if !ok {
		c.badChunk()
		return
	}
	ready := false
	if c.ext&extChunking == 0 {
		c.protocolErrorAt("data", notImplemented())
	} else {
		ready = c.ready()
	}
	b := newContent(c)
	s := &chunks{conn: c, content: b}
	b.framing = s
	if ready {
		s.begin(size, last)
		c.receive(b)
		return
	}
	// The chunk follows a refused command as well.
	s.begin(size, true)
	if !c.wire.hangup {
		b.drain()
	}
	if b.endless {
		c.wire.last()
	}
	b.end()
}

// badChunk refuses a chunk that cannot be told from commands: there is no going
// on.
func (c *conn) badChunk() {
	c.refuse(Rejection{Stage: "data", Reply: policy.BadChunkSize.Reply()})
	c.wire.last()
}

// chunks is content as BDAT brings it.
type chunks struct {
	conn    *conn
	content *content
	size    int64 // of the current chunk
	left    int64 // of it
	last    bool
}

// begin begins a chunk.
func (s *chunks) begin(size int64, last bool) {
	s.size, s.left, s.last = size, size, last
	s.content.announce(size)
}

func (s *chunks) next() ([]byte, error) {
	for s.left == 0 {
		if s.last {
			s.content.ended = true
			return nil, io.EOF
		}
		if err := s.acknowledge(); err != nil {
			return nil, err
		}
	}
	in := s.content.input()
	if in.empty() {
		if err := s.content.fill(); err != nil {
			return nil, err
		}
	}
	b := in.pending()
	b = b[:min(s.left, int64(len(b)))]
	in.take(len(b))
	s.left -= int64(len(b))
	return b, nil
}

// finish makes the chunk at hand the last one: with it ends a message that
// fails.
func (s *chunks) finish() int64 {
	s.last = true
	return s.left
}

// acknowledge answers for the chunk and waits for the next.
func (s *chunks) acknowledge() error {
	c := s.conn
	c.reply(250, "2.0.0", strconv.FormatInt(s.size, 10)+" octets received")
	for !c.wire.hangup {
		line, err := c.line(maxCommand)
		if err != nil {
			break
		}
		switch v, arg := verb(string(line)); v {
		case "BDAT":
			if s.follows(arg) {
				return s.content.refused()
			}
		case "RSET", "QUIT", "EHLO", "HELO":
			c.wire.in.putBack(len(line) + len("\r\n"))
			return s.content.abort()
		case "NOOP":
			c.noop()
		case "DATA":
			s.refuseData()
		default:
			c.protocolErrorAt("data", policy.OnlyBDAT.Reply())
		}
	}
	return s.content.breakOff(io.ErrUnexpectedEOF)
}

// refuseData refuses DATA among chunks (RFC 3030 section 2), and ends the
// session if its content is there: those lines are no commands.
func (s *chunks) refuseData() {
	if s.conn.contentBehind() {
		s.conn.refuse(Rejection{Stage: "data", Reply: contentRefusal()})
		return
	}
	s.conn.protocolErrorAt("data", policy.OnlyBDAT.Reply())
}

// follows takes another BDAT of the same message.
func (s *chunks) follows(arg string) bool {
	size, last, ok := parseBdat(arg)
	switch {
	case !ok:
		s.conn.badChunk()
		return false
	case size == 0 && !last && !s.conn.useless():
		return false
	}
	s.begin(size, last)
	return true
}

// parseBdat reads the argument of BDAT (RFC 3030 section 2).
func parseBdat(arg string) (size int64, last, ok bool) {
	num, rest, found := strings.Cut(arg, " ")
	if found {
		// Four octets: a long s folds to an s.
		if rest = strings.TrimLeft(rest, " "); len(rest) != 4 || !strings.EqualFold(rest, "LAST") {
			return 0, false, false
		}
		last = true
	}
	if num == "" || len(num) > 18 {
		return 0, false, false
	}
	for i := range len(num) {
		if num[i] < '0' || num[i] > '9' {
			return 0, false, false
		}
		size = size*10 + int64(num[i]-'0')
	}
	return size, last, true
}
