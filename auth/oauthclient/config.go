package oauthclient

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"

	"github.com/postern-mail/postern"
)

// Config says whom to ask for tokens, and as whom. Printed or logged it shows
// the TokenURL and the ClientID only.
type Config struct {
	// TokenURL is where the provider issues tokens. Required; without TLS on
	// this host only. Redirections are not followed.
	TokenURL string
	// ClientID is the name under which the provider knows the application.
	// Required, except with a ServiceAccount.
	ClientID string
	// ClientSecret proves that it is the application who asks. Defaults to
	// none, which a refresh token of a public client can do with.
	ClientSecret string
	// SecretInHeader sends ClientID and ClientSecret by HTTP's basic
	// authentication (RFC 6749 section 2.3.1). Defaults to the body of the
	// request, as Microsoft and Google take them.
	SecretInHeader bool
	// Certificate proves who asks by the private key of a certificate that the
	// provider knows, in place of a ClientSecret. The key must be RSA. Defaults
	// to none.
	Certificate *tls.Certificate
	// Scopes are what the token shall be good for. They are not sent with a
	// RefreshToken, which has its own. Defaults to what the provider gives.
	Scopes []string
	// RefreshToken is what a user's consent has been exchanged for. Defaults to
	// none: the application asks for itself.
	RefreshToken string
	// StoreRefreshToken is called with each new RefreshToken, as some providers
	// issue one with every token and end the old one. Until it has returned nil
	// no token is given out. Defaults to keeping it in memory.
	StoreRefreshToken func(refreshToken string) error
	// ServiceAccount asks with a key of its own, for a user. Defaults to none.
	ServiceAccount *ServiceAccount
	// Client asks the provider, which has ten seconds to answer in any case.
	// Defaults to [http.DefaultClient].
	Client *http.Client
}

// ServiceAccount is an account of an application that may act for users.
// Printed or logged it shows the Email and the User only.
type ServiceAccount struct {
	// Email names the account, and User whom the token shall be good for. Both
	// are required.
	Email, User string
	// Key is the RSA private key in PEM, KeyID the provider's name for it. Key
	// is required; KeyID defaults to none.
	Key   []byte
	KeyID string
}

// String returns the Email and the User.
func (a ServiceAccount) String() string { return a.Email + " for " + a.User }

// GoString returns what String does. It keeps the key out of %#v.
func (a ServiceAccount) GoString() string {
	return fmt.Sprintf("oauthclient.ServiceAccount{%s}", a)
}

// LogValue returns what String does.
func (a ServiceAccount) LogValue() slog.Value { return slog.StringValue(a.String()) }

// String returns the TokenURL and the ClientID.
func (c Config) String() string { return c.ClientID + " at " + c.TokenURL }

// GoString returns what String does. It keeps the secrets out of %#v.
func (c Config) GoString() string { return fmt.Sprintf("oauthclient.Config{%s}", c) }

// LogValue returns what String does.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// check returns every fault.
func (c *Config) check() error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(
			faults, &postern.FieldError{Field: field, Err: fmt.Errorf(format, args...)},
		)
	}
	if err := checkURL(c.TokenURL); err != nil {
		fault("TokenURL", "%w", err)
	}
	switch {
	case c.ServiceAccount != nil:
		c.ServiceAccount.check(fault)
		if c.RefreshToken != "" {
			fault("RefreshToken", "there is a ServiceAccount; set one of them")
		}
		return errors.Join(faults...)
	case c.ClientID == "":
		fault("ClientID", "missing")
	}
	switch {
	case c.Certificate != nil && c.ClientSecret != "":
		fault("Certificate", "there is a ClientSecret; set one of them")
	case c.Certificate != nil && c.RefreshToken != "":
		fault("Certificate", "has no effect with a RefreshToken")
	case c.Certificate != nil:
		if _, ok := c.Certificate.PrivateKey.(*rsa.PrivateKey); !ok ||
			len(c.Certificate.Certificate) == 0 {
			fault("Certificate", "needs a certificate and its RSA key")
		}
	case c.ClientSecret == "" && c.RefreshToken == "":
		fault("ClientSecret", "missing; set it, Certificate or RefreshToken")
	}
	if c.StoreRefreshToken != nil && c.RefreshToken == "" {
		fault("StoreRefreshToken", "has no effect without a RefreshToken")
	}
	return errors.Join(faults...)
}

func (a *ServiceAccount) check(fault func(field, format string, args ...any)) {
	if a.Email == "" {
		fault("ServiceAccount.Email", "missing")
	}
	if a.User == "" {
		fault("ServiceAccount.User", "missing; name the user whose mailbox is used")
	}
	if err := checkKey(a.Key); err != nil {
		fault("ServiceAccount.Key", "%w", err)
	}
}

func checkKey(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("no private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	if _, ok := key.(*rsa.PrivateKey); !ok || err != nil {
		return errors.New("no RSA private key")
	}
	return nil
}

// checkURL refuses what others could read on the way.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil {
		return errors.New("not an address such as https://login.example.com/token")
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback) {
		return errors.New("only https is safe")
	}
	return nil
}
