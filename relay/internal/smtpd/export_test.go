package smtpd

import (
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/connector"
)

// MaxPaused is for tests of the tarpit.
const MaxPaused = maxPaused

// CurrentPolicy returns the policy of new connections.
func (s *Server) CurrentPolicy() Policy { return *s.policy.Load() }

// ParseBdat, ParseMail and ParseRcpt are the parsers with every extension on.
func ParseBdat(arg string) (int64, bool, bool) { return parseBdat(arg) }

func ParseMail(arg string) (*Mail, *Reply) { return parseMail(arg, supported(nil)) }

func ParseRcpt(arg string, utf8 bool) (Rcpt, *Reply) {
	return parseRcpt(arg, supported(nil), &Mail{UTF8: utf8})
}

// Content is the content of a DATA command on a connection that reads from r.
type Content struct{ content }

func NewContent(r io.Reader) *Content {
	s := New(Config{})
	g := newGuard(s, &Policy{}, readConn{r}, Session{Connector: &connector.Connector{}, Remote: netip.AddrPort{}})
	g.cancel()
	c := &Content{}
	c.begin(g)
	g.content = c.content
	return c
}

// After drains the content and returns what input is left, and whether the end was found.
func (c *Content) After() (string, bool) {
	c.drain()
	return string(c.g.in[c.g.r:c.g.w]), c.ended
}

type readConn struct{ io.Reader }

func (readConn) Write(p []byte) (int, error)      { return len(p), nil }
func (readConn) Close() error                     { return nil }
func (readConn) LocalAddr() net.Addr              { return nil }
func (readConn) RemoteAddr() net.Addr             { return nil }
func (readConn) SetDeadline(time.Time) error      { return nil }
func (readConn) SetReadDeadline(time.Time) error  { return nil }
func (readConn) SetWriteDeadline(time.Time) error { return nil }
