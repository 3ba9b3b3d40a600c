package smtpsink

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"time"
)

const bufferSize = 128 << 10

// session is one connection. Answers go out when everything that has come is
// answered, as RFC 2920 asks of servers.
type session struct {
	sink       *Sink
	ended      <-chan struct{} // closed when the sink stops
	conn       net.Conn
	r          *bufio.Reader
	w          *bufio.Writer
	mail       bool
	recipients []string
}

func newSession(ctx context.Context, s *Sink, c net.Conn) *session {
	return &session{
		sink: s, ended: ctx.Done(), conn: c,
		r: bufio.NewReaderSize(c, bufferSize), w: bufio.NewWriterSize(c, 4<<10),
	}
}

// greeting is the answer to EHLO.
func greeting(c Config) []byte {
	lines := append([]string{"sink.example.test"}, c.Keywords...)
	if c.TLS != nil {
		lines = append(lines, "STARTTLS")
	}
	var b bytes.Buffer
	for i, line := range lines {
		separator := "-"
		if i == len(lines)-1 {
			separator = " "
		}
		b.WriteString("250" + separator + line + "\r\n")
	}
	return b.Bytes()
}

func (s *session) run() {
	s.say("220 sink.example.test ESMTP")
	for {
		if s.r.Buffered() == 0 && !s.flush() {
			return
		}
		line, err := s.r.ReadSlice('\n')
		if err != nil || !s.command(strings.TrimRight(string(line), "\r\n")) {
			return
		}
	}
}

func (s *session) say(line string) {
	_, _ = s.w.WriteString(line)
	_, _ = s.w.WriteString("\r\n")
}

// flush sends what is to be said. It reports false when the connection ends.
func (s *session) flush() bool {
	if s.w.Buffered() == 0 {
		return true
	}
	if d := s.sink.config.Think; d > 0 {
		select {
		case <-time.After(d):
		case <-s.ended:
			return false
		}
	}
	return s.w.Flush() == nil
}

// command answers one. It reports false when the connection ends.
func (s *session) command(line string) bool {
	verb, rest, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		_, _ = s.w.Write(s.sink.greeting)
	case "STARTTLS":
		return s.startTLS()
	case "MAIL":
		s.mail, s.recipients = true, s.recipients[:0]
		s.say("250 2.1.0 Ok")
	case "RCPT":
		s.rcpt(rest)
	case "DATA":
		return s.data()
	case "BDAT":
		return s.bdat(rest)
	case "RSET":
		s.reset()
		s.say("250 2.0.0 Ok")
	case "HELO", "NOOP":
		s.say("250 2.0.0 Ok")
	case "QUIT":
		s.say("221 2.0.0 Bye")
		_ = s.w.Flush()
		return false
	default:
		s.say("500 5.5.1 What?")
	}
	return true
}

func (s *session) reset() { s.mail, s.recipients = false, s.recipients[:0] }

func (s *session) startTLS() bool {
	if s.sink.config.TLS == nil {
		s.say("502 5.5.1 No TLS here")
		return true
	}
	s.say("220 2.0.0 Go ahead")
	if s.w.Flush() != nil || s.r.Buffered() > 0 {
		return false
	}
	c := tls.Server(s.conn, s.sink.config.TLS)
	s.reset()
	s.r.Reset(c)
	s.w.Reset(c)
	return true
}

func (s *session) rcpt(rest string) {
	_, path, ok := strings.Cut(rest, "<")
	path, _, closed := strings.Cut(path, ">")
	if !s.mail || !ok || !closed {
		s.say("503 5.5.1 Not now")
		return
	}
	s.recipients = append(s.recipients, path)
	s.say("250 2.1.5 Ok")
}

func (s *session) data() bool {
	if len(s.recipients) == 0 {
		s.say("503 5.5.1 No recipients")
		return true
	}
	s.say("354 Go ahead")
	if s.r.Buffered() == 0 && !s.flush() {
		return false
	}
	if skipContent(s.r) != nil {
		return false
	}
	s.taken()
	return true
}

// bdat skips the octets of a chunk, also of one that it refuses (RFC 3030).
func (s *session) bdat(rest string) bool {
	count, last, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return false // where the next command begins, nobody knows
	}
	if _, err := s.r.Discard(n); err != nil {
		return false
	}
	switch {
	case len(s.recipients) == 0:
		s.say("503 5.5.1 No recipients")
	case strings.EqualFold(last, "LAST"):
		s.taken()
	default:
		s.say("250 2.0.0 Ok")
	}
	return true
}

func (s *session) taken() {
	if f := s.sink.config.Received; f != nil {
		f(s.recipients)
	}
	s.sink.messages.Add(1)
	s.sink.recipients.Add(int64(len(s.recipients)))
	s.reset()
	s.say("250 2.0.0 Ok")
}

var end = []byte("\r\n.\r\n")

// skipContent reads to the line with a dot only, in large pieces.
func skipContent(r *bufio.Reader) error {
	if head, err := r.Peek(3); err != nil {
		return err
	} else if bytes.Equal(head, end[2:]) {
		_, err := r.Discard(3)
		return err
	}
	for {
		part, err := r.Peek(max(len(end), r.Buffered()))
		if i := bytes.Index(part, end); i >= 0 {
			_, err := r.Discard(i + len(end))
			return err
		}
		if err != nil {
			return err
		}
		// The end may have begun in what is here.
		if _, err := r.Discard(len(part) - len(end) + 1); err != nil {
			return err
		}
	}
}
