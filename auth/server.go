package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"github.com/xdg-go/scram"
)

// ErrSyntax is the fault of a client whose message is none of the mechanism's;
// the client is told 501 5.5.2.
var ErrSyntax = errors.New("auth: malformed message")

// ErrMechanism is the answer to a client that asks for a mechanism it was not
// offered; the client is told 504 5.7.4.
var ErrMechanism = errors.New("auth: mechanism not offered")

// A Server runs the exchanges of SASL mechanisms. It offers those whose field
// is set; the zero Server offers none. It must not be copied or changed once in
// use.
type Server struct {
	// Passwords decides on PLAIN and LOGIN: Credentials with a Password.
	Passwords Verifier

	// SCRAM holds the keys for SCRAM-SHA-256 and SCRAM-SHA-256-PLUS. Clients
	// that know SCRAM will use it: set it only when the users who log on have
	// such keys.
	SCRAM SCRAMStore
	// SCRAMIterations is what an unknown user seems to have. Set it to what
	// most users have. Defaults to that of [NewSCRAMKeys].
	SCRAMIterations int
	// SCRAMSecret makes up the salt of unknown users. Processes that serve the
	// same users should share it: a salt that changes tells that there is no
	// such user. A random one is another after each restart, which tells the
	// same to whoever asks before and after. Defaults to a random one.
	SCRAMSecret []byte

	// Tokens decides on OAUTHBEARER and XOAUTH2: Credentials with a Token and
	// the Username that the client wants, which may be empty. The identity must
	// come from what the token says, never from the Username alone.
	Tokens Verifier
	// TokenScope and OpenIDConfiguration tell a client whose token was refused
	// how to get a better one (RFC 7628 section 3.2.2): scopes, and the address
	// of the provider's configuration. Both default to nothing.
	TokenScope, OpenIDConfiguration string

	// Certificates decides on EXTERNAL, which is offered to clients whose
	// certificate the TLS configuration has verified: Credentials with
	// TLS.VerifiedChains and the Username that the client wants, which may be
	// empty.
	Certificates Verifier

	// Throttle slows down those who guess, by any mechanism. Defaults to none.
	Throttle *Throttle

	once  sync.Once
	drawn [sha256.Size]byte       // instead of SCRAMSecret
	nonce scram.NonceGeneratorFcn // for tests
}

// Conn is what a Server has to know of a connection.
type Conn struct {
	Remote netip.AddrPort
	TLS    *tls.ConnectionState // nil without TLS
	// Certificate is the server's own on this connection. SCRAM-SHA-256-PLUS
	// needs it for clients that bind to it by tls-server-end-point (RFC 5929);
	// those of tls-exporter (RFC 9266) do without. May be nil.
	Certificate *x509.Certificate
	// Allowed are the mechanisms that may be offered. Defaults to all.
	Allowed []Mechanism
	// InsecurePlaintext also offers without TLS what shows a secret.
	InsecurePlaintext bool
	// Accept has the last word on who has shown a good secret.
	// [ErrBadCredentials] makes that a wrong one, for the client and the
	// Throttle alike; another error ends the exchange. Defaults to accepting.
	Accept func(ctx context.Context, id *Identity) error
}

// Mechanisms returns what to offer on a connection, the strongest first.
func (s *Server) Mechanisms(c Conn) []Mechanism {
	all := []Mechanism{External, ScramSHA256Plus, ScramSHA256, OAuthBearer, XOAuth2, Plain, Login}
	return slices.DeleteFunc(all, func(m Mechanism) bool { return !s.offers(m, c) })
}

func (s *Server) offers(m Mechanism, c Conn) bool {
	if c.Allowed != nil && !slices.Contains(c.Allowed, m) ||
		m.ShowsSecret() && c.TLS == nil && !c.InsecurePlaintext {
		return false
	}
	switch m {
	case Plain, Login:
		return s.Passwords != nil
	case ScramSHA256:
		return s.SCRAM != nil
	case ScramSHA256Plus:
		return s.SCRAM != nil && (c.binding(scram.ChannelBindingTLSExporter).IsSupported() ||
			c.binding(scram.ChannelBindingTLSServerEndpoint).IsSupported())
	case OAuthBearer, XOAuth2:
		return s.Tokens != nil
	case External:
		return s.Certificates != nil && c.TLS != nil && len(c.TLS.VerifiedChains) > 0
	}
	return false
}

// Begin starts an exchange. It returns [ErrMechanism] if the mechanism is not
// offered on the connection.
func (s *Server) Begin(m Mechanism, c Conn) (*Exchange, error) {
	if !s.offers(m, c) {
		return nil, ErrMechanism
	}
	x := &Exchange{
		server: s, accept: c.Accept, c: Credentials{Mechanism: m, Remote: c.Remote, TLS: c.TLS},
	}
	switch m {
	case Plain:
		x.step = x.plain
	case Login:
		x.step = x.login
	case ScramSHA256, ScramSHA256Plus:
		x.step = (&scramExchange{Exchange: x, conn: c}).first
	case OAuthBearer:
		x.step = x.oauthBearer
	case XOAuth2:
		x.step = x.xoauth2
	case External:
		x.step = x.external
	}
	return x, nil
}

// scramSecret returns what the salt of unknown users is made of.
func (s *Server) scramSecret() []byte {
	if len(s.SCRAMSecret) > 0 {
		return s.SCRAMSecret
	}
	s.once.Do(func() { rand.Read(s.drawn[:]) }) // never fails
	return s.drawn[:]
}
