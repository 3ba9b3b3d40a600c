package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
)

// ErrBadCredentials is the answer of a Verifier to a user or a secret it does
// not accept; the client is told 535 5.7.8. Any other error means that the
// verifier could not decide; the client is told 454 4.7.0.
var ErrBadCredentials = errors.New("auth: bad credentials")

// Mechanism is the name of a SASL mechanism.
type Mechanism string

const (
	Plain Mechanism = "PLAIN" // RFC 4616
	Login Mechanism = "LOGIN" // draft-murchison-sasl-login
)

// Identity is who a session has proved to be.
type Identity struct {
	// User is the name it logged on with.
	User string
	// Groups are the application's own groups, which a grant may name.
	Groups []string
	// Senders are the addresses it may send as: "app@example.com" or "*@example.com".
	// A user named like an address owns that address.
	Senders []string
	// Labels are the application's own; they appear on events.
	Labels map[string]string
}

// MaySendAs reports whether the identity owns the mailbox, given as local@domain with
// the domain in lower case (domains.Address.Key). Local parts are compared without regard to case.
func (id *Identity) MaySendAs(mailbox string) bool { panic("auth: MaySendAs") }

// Credentials are what a client has shown.
type Credentials struct {
	Mechanism Mechanism
	Username  string
	Password  string
	// Authzid is the identity asked for beside the user's own (RFC 4616). Empty is usual.
	Authzid string
	Remote  netip.AddrPort
	TLS     *tls.ConnectionState // nil without TLS
}

// Verifier decides on credentials. It is called by many sessions at once; ctx
// ends when the client goes away or the time for an answer is over.
type Verifier interface {
	Verify(ctx context.Context, c Credentials) (*Identity, error)
}

// VerifierFunc is an adapter to use a function as a Verifier.
type VerifierFunc func(ctx context.Context, c Credentials) (*Identity, error)

// Verify calls f.
func (f VerifierFunc) Verify(ctx context.Context, c Credentials) (*Identity, error) {
	return f(ctx, c)
}
