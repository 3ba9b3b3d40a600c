package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/header"
)

// Policy is the application's own decisions, asked after the relay's own have
// accepted. A nil function accepts. A function refuses by returning an error:
// one made by [Reject] or [Defer] chooses the reply, any other is answered 451
// 4.3.0 and goes to the log. Functions are called by many sessions at once. One
// that has not answered within a minute ends its session, 421 4.3.0, and must
// not write to the Session any more.
type Policy struct {
	// Connect is asked before the banner.
	Connect func(ctx context.Context, s *Session) error
	// Helo is asked at HELO and EHLO.
	Helo func(ctx context.Context, s *Session) error
	// Auth is asked after the credentials were found good; s.Identity is set.
	Auth func(ctx context.Context, s *Session) error
	// Mail is asked at MAIL; from is the null address for <>.
	Mail func(ctx context.Context, s *Session, from domains.Address) error
	// Rcpt is asked at RCPT, except for <postmaster>, which no relay may
	// refuse.
	Rcpt func(ctx context.Context, s *Session, from, to domains.Address) error
	// Message is asked when the header has arrived, before the body.
	Message func(ctx context.Context, s *Session, m *Incoming) error
}

// Session is what a client has shown so far. A Policy may write Labels,
// Stream and Value.
type Session struct {
	ID            string // the same in log lines of the session
	Connector     *connector.Connector
	Local, Remote netip.AddrPort
	// Proxy is the listed host that told Local and Remote, by a PROXY header,
	// XCLIENT or X-Forwarded-For. Invalid without one.
	Proxy netip.AddrPort
	// Helo is what the client has said in HELO or EHLO: up to 255 octets of
	// UTF-8 without control characters, which need not be a name.
	Helo     string
	TLS      *tls.ConnectionState // nil without TLS
	Identity *auth.Identity       // nil before AUTH
	Rights   connector.Right
	// Author is who has submitted the message elsewhere, by the AUTH parameter
	// of MAIL (RFC 4954 section 5). Empty if the client does not say, and if it
	// lacks [connector.AcceptAuthenticationFlag].
	Author string
	// Labels appear on the events of the session's messages, with those of
	// Identity. Names and values together have at most 1 KiB: with more,
	// messages are refused for now, 451 4.3.0, and the log says why.
	Labels map[string]string
	// Stream is that of the session's messages: see [Message].Stream. With
	// another word than is allowed there, messages are refused for now, 451
	// 4.3.0, and the log says why. Defaults to empty.
	Stream string
	// Value is the application's own.
	Value any

	protocol string // for the trace field, when it is not SMTP

	// What Client.Submit was given, and what it answers.
	message   *Message
	duplicate bool

	// What the events and the trace field say of shown.
	shown                *tls.ConnectionState
	tlsText, certificate string
}

// show notes what is told of the TLS connection.
func (s *Session) show(t *tls.ConnectionState) {
	if s.shown == t {
		return
	}
	s.shown, s.tlsText, s.certificate = t, "", ""
	if t == nil {
		return
	}
	s.tlsText = header.TLS(t.Version, t.CipherSuite)
	if len(t.VerifiedChains) > 0 {
		leaf := t.VerifiedChains[0][0]
		s.certificate = leaf.Subject.CommonName
		if len(leaf.DNSNames) > 0 {
			s.certificate = leaf.DNSNames[0]
		}
	}
}

// Incoming is a message whose header has arrived.
type Incoming struct {
	QueueID    string
	From       domains.Address
	Recipients []domains.Address
	// Header is the header section as it will be stored, with the blank line.
	// It must not be changed.
	Header []byte
	added  []byte
}

var errField = errors.New("relay: not a header field name and a value in one line")

// AddField puts a header field on top of the message. The name is letters,
// digits and hyphens, the value one line of printable text.
func (m *Incoming) AddField(name, value string) error {
	if name == "" || len(name)+len(value) > 900 ||
		strings.ContainsFunc(value, func(r rune) bool {
			return r < ' ' && r != '\t' || r == 0x7f
		}) {
		return errField
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return errField
		}
	}
	m.added = append(m.added, name...)
	m.added = append(m.added, ": "...)
	m.added = append(m.added, value...)
	m.added = append(m.added, '\r', '\n')
	return nil
}
