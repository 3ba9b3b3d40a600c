package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth/oauthclient"
	"github.com/postern-mail/postern/connector"
)

// oauth says where the tokens come from that a send connector logs on with.
type oauth struct {
	Provider string // Microsoft365, Google or GoogleServiceAccount; none: TokenURL
	Tenant   string // of Microsoft 365
	TokenURL string
	ClientID string
	Scopes   []string
	// SecretInHeader is for providers that take the secret by HTTP only.
	SecretInHeader bool
	// ClientSecretFile and KeyFile, that of a service account, are only read.
	// RefreshTokenFile is replaced when the provider issues another.
	ClientSecretFile, KeyFile, RefreshTokenFile string
	Certificate                                 *pair // in place of a secret
}

// noTokens stands for a source with faults, so that the relay finds no other.
type noTokens struct{}

func (noTokens) Token(context.Context, string) (string, error) {
	return "", errors.New("no source of tokens")
}

// tokens returns the source for a send connector.
func (l *loader) tokens(at string, o *oauth, username string) connector.TokenSource {
	if o.Provider == "Microsoft365" && o.Tenant == "" {
		l.add(at+".tenant", "missing")
	}
	earlier := len(l.faults)
	cfg, known := l.provider(at, o, username)
	if !known {
		return noTokens{}
	}
	if o.TokenURL != "" {
		cfg.TokenURL = o.TokenURL
	}
	if o.Scopes != nil {
		cfg.Scopes = o.Scopes
	}
	cfg.SecretInHeader = o.SecretInHeader
	if o.Certificate != nil {
		certificate := l.pair(at+".certificate", o.Certificate.Certificate, o.Certificate.Key)
		cfg.Certificate = &certificate
	}
	if o.RefreshTokenFile != "" {
		cfg.StoreRefreshToken = func(token string) error {
			return replaceFile(l.path(o.RefreshTokenFile), token+"\n")
		}
	}
	source, err := oauthclient.New(cfg)
	unread := len(l.faults) > earlier // what lacks may be in a file that cannot be read
	for _, err := range parts(err) {
		fe, _ := errors.AsType[*postern.FieldError](err)
		if key := oauthKey(fe.Field); !unread || key == "token_url" || key == "client_id" {
			l.add(at+"."+key, "%w", fe.Err)
		}
	}
	if err != nil {
		return noTokens{}
	}
	return source
}

// provider fills in what is known of a provider; false if nothing is.
func (l *loader) provider(
	at string, o *oauth, username string,
) (cfg oauthclient.Config, known bool) {
	secret, refresh := l.line(at+".client_secret_file", o.ClientSecretFile),
		l.line(at+".refresh_token_file", o.RefreshTokenFile)
	switch o.Provider {
	case "":
		cfg = oauthclient.Config{ClientID: o.ClientID, ClientSecret: secret}
	case "Microsoft365":
		cfg = oauthclient.Microsoft365(o.Tenant, o.ClientID, secret)
	case "Google":
		cfg = oauthclient.Google(o.ClientID, secret, refresh)
	case "GoogleServiceAccount":
		key := l.secret(at+".key_file", o.KeyFile)
		if key == nil {
			return cfg, false
		}
		var err error
		if cfg, err = oauthclient.GoogleServiceAccount(key, username); err != nil {
			l.add(at+".key_file", "%w", err)
			return cfg, false
		}
	default:
		l.add(
			at+".provider", "%q is none of Microsoft365, Google, GoogleServiceAccount", o.Provider,
		)
		return cfg, false
	}
	cfg.RefreshToken = refresh
	return cfg, true
}

// line returns the secret in a file without the end of its line, if there is
// one.
func (l *loader) line(field, name string) string {
	if name == "" {
		return ""
	}
	return strings.TrimRight(string(l.secret(field, name)), "\r\n")
}

// oauthKey is the key of a field of oauthclient.Config.
func oauthKey(field string) string {
	switch {
	case field == "ClientSecret":
		return "client_secret_file"
	case field == "RefreshToken", field == "StoreRefreshToken":
		return "refresh_token_file"
	case field == "ServiceAccount.User":
		return "username"
	case strings.HasPrefix(field, "ServiceAccount"):
		return "key_file"
	}
	return snake(field)
}

// replaceFile writes a file for its owner alone, which is the old or the new
// one whatever happens.
func replaceFile(name, content string) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("%s cannot be replaced: %w", name, err)
	}
	return nil
}
