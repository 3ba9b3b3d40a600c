package smtpd

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// What go-smtp is given instead of what the client said. The session takes the
// parsed command from the guard; go-smtp's own reading of an address decides
// nothing.
const (
	lineHelo = "HELO x\r\n"
	lineRset = "RSET\r\n"
	lineMail = "MAIL FROM:<>\r\n"
	lineRcpt = "RCPT TO:<x@x>\r\n"
	lineData = "DATA\r\n"
	dataEnd  = ".\r\n"
)

// errRefused tells go-smtp that a command failed. Its text goes nowhere.
var errRefused = errors.New("smtpd: refused")

// link is the connection that go-smtp sees. After STARTTLS and XCLIENT the
// guard goes on with a new one, so that go-smtp begins with nothing (RFC 3207
// section 4.2).
type link struct {
	guard  *guard
	closed bool
}

// Read gives go-smtp its next line. The error is io.EOF and nothing else.
func (l *link) Read(p []byte) (n int, err error) {
	g := l.guard
	defer func() {
		if v := recover(); v != nil {
			g.panicked(v)
			g.goodbye(421, "4.3.0", "Internal error")
			n, err = 0, io.EOF
		}
	}()
	if g.feed == "" {
		if g.feed = g.step(); g.feed == "" {
			return 0, io.EOF
		}
	}
	n = copy(p, g.feed)
	g.feed = g.feed[n:]
	return n, nil
}

// Write drops what go-smtp has to say: replies are the guard's.
func (l *link) Write(p []byte) (int, error) { return len(p), nil }

// Close ends the connection, unless it goes on after STARTTLS or XCLIENT.
func (l *link) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	g := l.guard
	if g.handover && !g.hangup {
		g.handover = false
		if g.sess.Helo != "" {
			g.feed = lineHelo // XCLIENT has introduced the client
		}
		if g.srv.queue.put(g) {
			return nil
		}
	}
	g.close()
	return nil
}

func (l *link) LocalAddr() net.Addr              { return l.guard.raw.LocalAddr() }
func (l *link) RemoteAddr() net.Addr             { return l.guard.raw.RemoteAddr() }
func (l *link) SetDeadline(time.Time) error      { return nil }
func (l *link) SetReadDeadline(time.Time) error  { return nil }
func (l *link) SetWriteDeadline(time.Time) error { return nil }

// session is what go-smtp calls for the commands that passed the guard.
type session struct{ *guard }

var _ smtp.AuthSession = session{}

func newSession(c *smtp.Conn) (smtp.Session, error) {
	return session{c.Conn().(*link).guard}, nil
}

// Mail carries out the MAIL command that the guard parsed last.
func (s session) Mail(string, *smtp.MailOptions) error { return s.answered(s.doMail()) }

// Rcpt carries out the RCPT command that the guard parsed last.
func (s session) Rcpt(string, *smtp.RcptOptions) error { return s.answered(s.doRcpt()) }

// Data takes the content from the guard, past go-smtp's reader, which then
// gets the end of data that it waits for.
func (s session) Data(io.Reader) error { return s.answered(s.doData()) }

// AuthMechanisms is for go-smtp's EHLO reply, which goes nowhere.
func (s session) AuthMechanisms() []string { return nil }

// Auth begins the SASL exchange that the guard let pass.
func (s session) Auth(string) (sasl.Server, error) {
	s.waiting = false
	return s.exchange, nil
}

// Reset and Logout have nothing to do: the guard keeps the transaction.
func (s session) Reset()        {}
func (s session) Logout() error { return nil }

// answered notes that go-smtp agreed with the guard on the state of the
// session.
func (s session) answered(ok bool) error {
	s.waiting = false
	if !ok {
		return errRefused
	}
	return nil
}
