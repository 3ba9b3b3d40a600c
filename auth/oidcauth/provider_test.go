package oidcauth_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	"github.com/postern-mail/postern/auth/oidcauth"
)

const (
	issuerURL = "https://login.example.com"
	audience  = "mail"
)

// provider is an OpenID Connect provider that is asked without a network.
type provider struct {
	oidctest.Server
	key  ed25519.PrivateKey
	down bool
	hang bool
	asks int
}

func newProvider() *provider {
	p := &provider{}
	p.SetIssuer(issuerURL)
	p.rotate()
	return p
}

// rotate replaces the key.
func (p *provider) rotate() {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	p.key = private
	p.PublicKeys = []oidctest.PublicKey{{PublicKey: public, KeyID: "a", Algorithm: oidc.EdDSA}}
}

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	p.asks++
	if p.hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if p.down {
		return nil, errors.New("connection refused")
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result(), nil
}

// claims are good ones, with some changed: a nil value takes one away.
func claims(changes map[string]any) string {
	all := map[string]any{
		"iss": issuerURL, "aud": audience, "sub": "1001", "exp": time.Now().Add(time.Hour).Unix(),
		"email": "anna@example.com", "email_verified": true,
	}
	for k, v := range changes {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (p *provider) token(changes map[string]any) string {
	return oidctest.SignIDToken(p.key, "a", oidc.EdDSA, claims(changes))
}

func (p *provider) verifier(t *testing.T, opt oidcauth.Config) *oidcauth.Verifier {
	t.Helper()
	opt.Issuer, opt.Audience, opt.Client = issuerURL, audience, &http.Client{Transport: p}
	v, err := oidcauth.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const perFetch = 2 // requests: configuration and keys
