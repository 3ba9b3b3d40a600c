package wiretest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// Role is one of the two sides of a dialogue.
type Role byte

// The roles. Their values are the letters that stand for them in a dialogue.
const (
	Client Role = 'C'
	Server Role = 'S'
)

// Side is one side of a connection. It writes without waiting for the other to
// read, so that a dialogue runs on [net.Pipe] as well as on a socket.
type Side struct {
	// TLS is what the handshakes are done with.
	TLS *tls.Config
	// Loose says that replies are expected by their beginnings: a reply of more
	// than one line by that of its last one.
	Loose bool
	// Replied is told of the last line of every reply that is read as one.
	Replied func(line string)

	t    testing.TB
	role Role
	raw  net.Conn // the connection under TLS
	conn net.Conn
	in   *bufio.Reader
	out  *outbox
	// under is the outbox beneath TLS. What a server says in a row is held, to
	// be written at once: behind the first reply the client may hang up.
	under *outbox
	held  string
}

// Join takes a role on a connection. Close it in the end.
func Join(t testing.TB, c net.Conn, role Role) *Side {
	return &Side{t: t, role: role, raw: c, conn: c, in: bufio.NewReader(c), out: newOutbox(c)}
}

// Conn returns the connection, which is a [tls.Conn] inside TLS.
func (s *Side) Conn() net.Conn { return s.conn }

// Reader returns where the rest of what the other side says can be read.
func (s *Side) Reader() *bufio.Reader { return s.in }

// Wrap puts a connection over the one there is, before anything was sent.
func (s *Side) Wrap(over func(net.Conn) net.Conn) { s.raw = over(s.raw) }

// Send sends octets as they are.
func (s *Side) Send(octets string) {
	s.release()
	s.out.put([]byte(octets))
}

// release sends what is held.
func (s *Side) release() {
	if s.held != "" {
		s.out.put([]byte(s.held))
		s.held = ""
	}
}

// Say sends lines, each with CRLF.
func (s *Side) Say(lines ...string) { s.Send(strings.Join(lines, "\r\n") + "\r\n") }

// Sent waits until all is written.
func (s *Side) Sent() {
	s.release()
	s.out.pending.Wait()
	if s.under != nil {
		s.under.pending.Wait()
	}
}

// Line returns the next line of the other side.
func (s *Side) Line() (string, error) {
	text, err := s.in.ReadString('\n')
	if err != nil {
		return text, err
	}
	line, ok := strings.CutSuffix(text, "\r\n")
	if !ok {
		return text, fmt.Errorf("line without CRLF: %q", text)
	}
	return line, nil
}

// Reply returns the lines of the server's next reply.
func (s *Side) Reply() (lines []string, err error) {
	for {
		line, err := s.Line()
		if err != nil {
			return lines, err
		}
		if lines = append(lines, line); len(line) < 4 || line[3] != '-' {
			if s.Replied != nil {
				s.Replied(line)
			}
			return lines, nil
		}
	}
}

// Expect reads lines of the other side and checks each.
func (s *Side) Expect(patterns ...string) {
	s.t.Helper()
	for _, want := range patterns {
		s.must(s.hear(want))
	}
}

func (s *Side) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// hear reads a line, or where the side is loose a reply, and checks it.
func (s *Side) hear(want string) error {
	lines, err := s.heard()
	if err != nil {
		return fmt.Errorf("want %q: %w after %q", want, err, lines)
	}
	got := lines[len(lines)-1]
	switch {
	case s.role == Server && got == want, s.role == Client && Match(want, got),
		s.Loose && strings.HasPrefix(got, want):
		return nil
	}
	return fmt.Errorf("got %q, want %q", lines, want)
}

func (s *Side) heard() ([]string, error) {
	if s.Loose {
		return s.Reply()
	}
	line, err := s.Line()
	return []string{line}, err
}

// hearOctets reads octets and checks them.
func (s *Side) hearOctets(want string) error {
	got := make([]byte, len(want))
	if n, err := io.ReadFull(s.in, got); string(got) != want {
		return fmt.Errorf("got %q, want %q (%v)", got[:n], want, err)
	}
	return nil
}

// ExpectClose checks that the other side closes without another word.
func (s *Side) ExpectClose() {
	s.t.Helper()
	s.must(s.closed())
}

func (s *Side) closed() error {
	if got, err := s.Line(); err == nil || got != "" {
		return fmt.Errorf("got %q (%w), want the connection closed", got, err)
	}
	return nil
}

// quiet is how long there must be no word where nothing is said.
const quiet = 20 * time.Millisecond

// silence checks that the other side has nothing to say.
func (s *Side) silence() error {
	_ = s.raw.SetReadDeadline(time.Now().Add(quiet))
	got, err := s.Line()
	_ = s.raw.SetReadDeadline(time.Time{})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("got %q (%w), want silence", got, err)
	}
	return nil
}

// EHLO opens the session and returns the reply: the greeting and the
// extensions.
func (s *Side) EHLO() []string {
	s.t.Helper()
	lines, err := s.ehlo()
	s.must(err)
	return lines
}

func (s *Side) ehlo() ([]string, error) {
	s.Say("EHLO client.test")
	lines, err := s.Reply()
	for i, line := range lines {
		lines[i] = line[4:]
	}
	return lines, err
}

// Handshake does a TLS handshake with its own configuration if there is one.
func (s *Side) Handshake(own *tls.Config) {
	s.t.Helper()
	s.must(s.TryHandshake(own))
}

// TryHandshake is Handshake for one that may fail.
func (s *Side) TryHandshake(own *tls.Config) error {
	if own == nil {
		own = s.TLS
	}
	s.Sent()
	s.under = newOutbox(s.raw)
	c := tls.Client(&buffered{s.raw, s.under}, own)
	if s.role == Server {
		c = tls.Server(&buffered{s.raw, s.under}, own)
	}
	if err := c.Handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	s.conn, s.in, s.out = c, bufio.NewReader(c), newOutbox(c)
	return nil
}

// Close closes the connection. It may be called again.
func (s *Side) Close() { s.raw.Close() }
