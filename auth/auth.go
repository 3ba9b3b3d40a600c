package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
)

// ErrBadCredentials tells that a Verifier does not accept a user or a secret;
// the client is told 535 5.7.8. Any other error means that the verifier could
// not decide; the client is told 454 4.7.0.
var ErrBadCredentials = errors.New("auth: bad credentials")

// A Proof is what a client has shown to prove who it is. Printing or logging it
// leaves the password and the token out.
type Proof struct {
	Mechanism Mechanism
	Username  string // in the form of [PrepareName]
	Password  string `json:"-"`
	// Token is a bearer token (RFC 6750), shown instead of a password.
	Token string `json:"-"`
	// Authzid is the identity asked for beside the user's own (RFC 4616). Empty
	// is usual.
	Authzid string
	Remote  netip.AddrPort
	TLS     *tls.ConnectionState `json:"-"` // nil without TLS

	standing standing // what a Throttle knows of the source
}

// Check returns [ErrBadCredentials] for a proof that names no user: a name
// that is not as [PrepareName] writes it, an empty password, or a wish to act
// as another user. A Verifier of passwords calls it before it looks up the
// name.
func (p Proof) Check() error {
	name, err := PrepareName(p.Username)
	if err != nil || name != p.Username || p.Password == "" {
		return ErrBadCredentials
	}
	if p.Authzid != "" && p.Authzid != p.Username {
		return ErrBadCredentials
	}
	return nil
}

// String leaves the password and the token out.
func (p Proof) String() string {
	return fmt.Sprintf("%s user %q from %s", p.Mechanism, p.Username, p.Remote)
}

// GoString leaves the password and the token out.
func (p Proof) GoString() string { return "auth.Proof{" + p.String() + "}" }

// LogValue implements [slog.LogValuer] and leaves the password and the token
// out.
func (p Proof) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("mechanism", string(p.Mechanism)),
		slog.String("user", p.Username),
		slog.String("remote", p.Remote.String()),
	)
}

// Verifier decides on what clients show. It is called by many sessions at once;
// ctx ends when the client goes away or the time for an answer is over.
type Verifier interface {
	// Verify returns whose proof it is, [ErrBadCredentials] when it is
	// wrong, or another error when that cannot be known now. The
	// Identity may be shared by sessions and must not be changed afterwards.
	Verify(ctx context.Context, p Proof) (*Identity, error)
}

// VerifierFunc is an adapter to use a function as a Verifier.
type VerifierFunc func(ctx context.Context, p Proof) (*Identity, error)

// Verify calls f.
func (f VerifierFunc) Verify(ctx context.Context, p Proof) (*Identity, error) {
	if f == nil {
		return nil, errors.New("auth: no Verifier")
	}
	return f(ctx, p)
}

// required returns v, or in the place of none one that knows nobody for now.
func required(v Verifier) Verifier {
	if v == nil {
		return VerifierFunc(nil)
	}
	return v
}
