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

// ErrMechanism refuses a client that asks for a mechanism it was not
// offered; the client is told 504 5.7.4.
var ErrMechanism = errors.New("auth: mechanism not offered")

// A Server runs the exchanges of SASL mechanisms. It offers those whose field
// is set; the zero Server offers none. It must not be copied or changed once in
// use.
type Server struct {
	// Passwords decides on PLAIN and LOGIN: a Proof with a Password.
	Passwords Verifier

	// SCRAM holds the keys for SCRAM-SHA-256 and SCRAM-SHA-256-PLUS. Clients
	// that know SCRAM will use it and try no other: set it only when all users
	// who log on have such keys. It does not ask Passwords: senders that
	// WithSenders adds there are added here by SCRAMWithSenders.
	SCRAM SCRAMStore
	// SCRAMIterations is what an unknown user seems to have. Set it to what
	// most users have. Defaults to that of [NewSCRAMKeys].
	SCRAMIterations int
	// SCRAMSecret makes up the salt of unknown users. Processes that serve the
	// same users should share it: a salt that changes tells that there is no
	// such user. A random one is another after each restart, which tells the
	// same to whoever asks before and after. Defaults to a random one.
	SCRAMSecret []byte

	// Tokens decides on OAUTHBEARER and XOAUTH2: a Proof with a Token and
	// the Username that the client wants, which may be empty. The identity must
	// come from what the token says, never from the Username alone.
	Tokens Verifier
	// TokenScope and OpenIDConfiguration tell a client whose token was refused
	// how to get a better one (RFC 7628 section 3.2.2): scopes, and the address
	// of the provider's configuration. Both default to nothing.
	TokenScope, OpenIDConfiguration string

	// Certificates decides on EXTERNAL, which is offered to clients whose
	// certificate the TLS configuration has verified: a Proof with
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
	// InsecurePlaintext also offers without TLS what shows a password. Tokens
	// are for TLS only (RFC 7628 section 4).
	InsecurePlaintext bool
	// Accept has the last word on who has shown a good secret.
	// [ErrBadCredentials] makes that a wrong one, for the client and the
	// Throttle alike; another error ends the exchange. Defaults to accepting.
	Accept func(ctx context.Context, id *Identity) error
	// Ask puts each question to a Verifier or SCRAMStore: it calls question
	// once, and returns its error, or one of its own sooner, such as when ctx
	// ends; the answer is dropped then. Defaults to calling it.
	Ask func(ctx context.Context, question func() error) error
}

// Mechanisms returns what to offer on a connection, the strongest first.
func (s *Server) Mechanisms(c Conn) []Mechanism {
	var offered []Mechanism
	for _, m := range mechanisms() {
		if s.offers(m, c) {
			offered = append(offered, m.name)
		}
	}
	return offered
}

func (s *Server) offers(m mechanism, c Conn) bool {
	return (c.Allowed == nil || slices.Contains(c.Allowed, m.name)) &&
		(c.TLS != nil || !m.needsTLS && (!m.showsSecret || c.InsecurePlaintext)) &&
		m.offered(s, c)
}

// Begin starts an exchange. It returns [ErrMechanism] if the mechanism is not
// offered on the connection.
func (s *Server) Begin(name Mechanism, c Conn) (*Exchange, error) {
	m, ok := mechanismOf(name)
	if !ok || !s.offers(m, c) {
		return nil, ErrMechanism
	}
	x := &Exchange{
		server: s, conn: c, proof: Proof{Mechanism: name, Remote: c.Remote, TLS: c.TLS},
	}
	x.step = m.begin(x)
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
