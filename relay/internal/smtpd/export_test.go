package smtpd

import (
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// MaxPaused is for tests of the tarpit.
const MaxPaused = maxPaused

// MaxHeaders is for tests of proxies, CrowdNames and MaxCrowds of crowds behind
// a gateway.
const (
	MaxHeaders = maxHeaders
	CrowdNames = crowdNames
	MaxCrowds  = maxCrowds
)

// ParseHeader finds the length of a PROXY header and reads it; n is 0 if more
// is needed.
func ParseHeader(b []byte) (n int, from, to netip.AddrPort, own bool, err error) {
	if n, err = headerLength(b); n == 0 || err != nil {
		return 0, from, to, false, err
	}
	e, err := parseHeader(b[:n])
	return n, e.from, e.to, e.own, err
}

// ParseClaim reports whether the argument of XCLIENT is in order, and what it
// says.
func ParseClaim(arg string) (Session, bool) {
	var s Session
	c, ok := parseClaim(arg)
	c.apply(&s)
	s.Helo, s.ESMTP = c.helo, c.esmtp
	return s, ok
}

// DefaultGateways asks the system; ParseRoutes reads its tables.
func DefaultGateways() []netip.Addr { return defaultGateways() }

func ParseRoutes(r io.Reader, six bool) []netip.Addr {
	if six {
		return parseRoutes(r, routeIPv6)
	}
	return parseRoutes(r, routeIPv4)
}

// Sources is how many sources of connections a connector knows.
func (s *Server) Sources(connector string) int {
	s.shared.admitted.mu.Lock()
	defer s.shared.admitted.mu.Unlock()
	return len(s.shared.admitted.usage[connector].source)
}

// CurrentSettings returns the settings of new connections.
func (s *Server) CurrentSettings() Settings { return *s.settings.Load() }

// ParseBdat, ParseMail and ParseRcpt are the parsers with every extension on.
func ParseBdat(arg string) (int64, bool, bool) { return parseBdat(arg) }

func ParseMail(arg string) (*Mail, *policy.Reply) { return parseMail(arg, supported(nil)) }

func ParseRcpt(arg string, utf8 bool) (Rcpt, *policy.Reply) {
	return parseRcpt(arg, supported(nil), &Mail{UTF8: utf8})
}

// Content is the content of a DATA command on a connection that reads from r.
type Content struct{ *content }

func NewContent(r io.Reader) *Content {
	s := New(Config{})
	c := newConn(&s.shared, &Settings{}, readConn{r}, Session{Connector: &connector.Connector{}})
	c.cancel()
	b := newContent(c)
	b.framing = &dotted{content: b, bol: true}
	return &Content{b}
}

// After drains the content and returns what input is left, and whether the end
// was found.
func (c *Content) After() (string, bool) {
	c.drain()
	return string(c.input().pending()), c.ended
}

// Admitted is how many connections count in a connector's limits.
func (s *Server) Admitted() int {
	q := &s.shared.admitted
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, u := range q.usage {
		n += u.total
	}
	return n
}

type readConn struct{ io.Reader }

func (readConn) Write(p []byte) (int, error)      { return len(p), nil }
func (readConn) Close() error                     { return nil }
func (readConn) LocalAddr() net.Addr              { return nil }
func (readConn) RemoteAddr() net.Addr             { return nil }
func (readConn) SetDeadline(time.Time) error      { return nil }
func (readConn) SetReadDeadline(time.Time) error  { return nil }
func (readConn) SetWriteDeadline(time.Time) error { return nil }
