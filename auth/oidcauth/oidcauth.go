// Package oidcauth decides on bearer tokens by the keys of an OpenID Connect
// provider: JSON Web Tokens that the provider has signed for this application
// and one of its users. It is a module of its own, since an application whose
// tokens mean something to nobody but itself needs a function and none of this.
//
// # Errors
//
// A token that is malformed, forged, expired or made for somebody else is an
// [auth.ErrBadCredentials]. A provider that cannot be asked for its keys is
// another error, and the client is told to try later; as long as the keys are
// known, the provider may be away.
//
// [auth.ErrBadCredentials]:
// https://pkg.go.dev/github.com/postern-mail/postern/auth#pkg-variables
package oidcauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
)

// Config says whose tokens are good, and for what.
type Config struct {
	// Issuer is the address of the provider, exactly as its tokens have it:
	// "https://login.example.com". Below it the provider publishes its
	// configuration and its keys. Required; without TLS on this host only.
	Issuer string
	// Audience is whom the tokens must have been made for: the name under which
	// the provider knows this application. Required, as tokens for other
	// applications would otherwise do.
	Audience string
	// Scope is one that tokens must have, such as "smtp.send". Defaults to
	// none.
	Scope string
	// UserClaim is the claim with the user's name. Choose one that users cannot
	// set to what they like. Defaults to "email", which counts only where the
	// provider says that it has verified the address.
	UserClaim string
	// Skew is how far the provider's clock may be from this one. Defaults to a
	// minute.
	Skew time.Duration
	// KeysFor is how long the keys are used before the provider is asked again.
	// It is also asked, at most every ten seconds, when a token fits no key.
	// Defaults to an hour.
	KeysFor time.Duration
	// Client asks the provider. Defaults to [http.DefaultClient]. It gets ten
	// seconds to answer in any case.
	Client *http.Client
}

// Verifier is an [auth.Verifier] of tokens: set it as the Tokens of an
// [auth.Server].
//
// [auth.Verifier]:
// https://pkg.go.dev/github.com/postern-mail/postern/auth#Verifier
// [auth.Server]: https://pkg.go.dev/github.com/postern-mail/postern/auth#Server
type Verifier struct {
	cfg  Config
	keys *keys
}

var _ auth.Verifier = (*Verifier)(nil)

// New returns a Verifier. It does not ask the provider yet. The error holds
// every fault, joined with [errors.Join], each a *postern.FieldError.
func New(cfg Config) (*Verifier, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.UserClaim == "" {
		cfg.UserClaim = emailClaim
	}
	if cfg.Skew == 0 {
		cfg.Skew = time.Minute
	}
	if cfg.KeysFor == 0 {
		cfg.KeysFor = time.Hour
	}
	if cfg.Client == nil {
		cfg.Client = http.DefaultClient
	}
	return &Verifier{
		cfg:  cfg,
		keys: &keys{issuer: cfg.Issuer, client: cfg.Client, maxAge: max(cfg.KeysFor, pause)},
	}, nil
}

// check returns every fault.
func (cfg *Config) check() error {
	var faults []error
	fault := func(field string, err error) {
		faults = append(faults, &postern.FieldError{Field: field, Err: err})
	}
	if err := checkURL(cfg.Issuer); err != nil {
		fault("Issuer", err)
	}
	if cfg.Audience == "" {
		fault("Audience", errors.New("missing"))
	}
	if cfg.Skew < 0 {
		fault("Skew", errors.New("cannot be negative"))
	}
	if cfg.KeysFor < 0 {
		fault("KeysFor", errors.New("cannot be negative"))
	}
	return errors.Join(faults...)
}

// checkURL refuses what an attacker on the way could answer.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return errors.New("not an address such as https://login.example.com")
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback) {
		return errors.New("only https is safe")
	}
	return nil
}

const emailClaim = "email"

// algorithms leaves out those with a shared secret.
func algorithms() []string {
	return []string{
		oidc.EdDSA, oidc.ES256, oidc.ES384, oidc.ES512,
		oidc.PS256, oidc.PS384, oidc.PS512, oidc.RS256, oidc.RS384, oidc.RS512,
	}
}

// Verify implements auth.Verifier. The identity is the user whom the token
// names; the client's own idea of that may be left out, but must not differ in
// more than case.
func (v *Verifier) Verify(ctx context.Context, c auth.Proof) (*auth.Identity, error) {
	if c.Token == "" {
		return nil, bad("no token")
	}
	signed := attempt{keys: v.keys}
	token, err := oidc.NewVerifier(v.cfg.Issuer, &signed, &oidc.Config{
		ClientID:             v.cfg.Audience,
		SupportedSigningAlgs: algorithms(),
		SkipExpiryCheck:      true, // it has a skew of its own
	}).Verify(ctx, c.Token)
	switch {
	case signed.err != nil:
		return nil, fmt.Errorf("oidcauth: %w", signed.err)
	case err != nil:
		return nil, bad(err.Error())
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return nil, bad("malformed claims")
	}
	now := time.Now()
	if !now.Before(token.Expiry.Add(v.cfg.Skew)) { // also a token without an end
		return nil, bad("the token has expired")
	}
	if notBefore, ok := claims["nbf"].(float64); ok &&
		float64(now.Add(v.cfg.Skew).Unix()) < notBefore {
		return nil, bad("the token is not valid yet")
	}
	if v.cfg.Scope != "" && !hasScope(claims, v.cfg.Scope) {
		return nil, bad("the token lacks the scope")
	}
	return v.identity(c, claims)
}

func (v *Verifier) identity(c auth.Proof, claims map[string]any) (*auth.Identity, error) {
	name, _ := claims[v.cfg.UserClaim].(string)
	user, err := auth.PrepareName(name)
	if err != nil {
		return nil, bad("the token names no user")
	}
	if v.cfg.UserClaim == emailClaim {
		// Some providers write the truth as a string.
		if verified := claims["email_verified"]; verified != true && verified != "true" {
			return nil, bad("the provider has not verified the user's address")
		}
	}
	for _, asked := range []string{c.Username, c.Authzid} {
		if asked != "" && !strings.EqualFold(asked, user) {
			return nil, bad("the token is another user's")
		}
	}
	return &auth.Identity{User: user}, nil
}

// hasScope reads the claim of RFC 8693 section 4.2, and that of Microsoft and
// others.
func hasScope(claims map[string]any, want string) bool {
	for _, name := range []string{"scope", "scp"} {
		switch value := claims[name].(type) {
		case string:
			for s := range strings.FieldsSeq(value) {
				if s == want {
					return true
				}
			}
		case []any:
			for _, s := range value {
				if s == want {
					return true
				}
			}
		}
	}
	return false
}

// bad tells the log why a token was refused. What the token says of itself is
// cut short.
func bad(reason string) error {
	const most = 300
	if len(reason) > most {
		reason = strings.ToValidUTF8(reason[:most], "") + "…"
	}
	return fmt.Errorf("%w: %s", auth.ErrBadCredentials, reason)
}
