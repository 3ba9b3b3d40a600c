package oidcauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/oidcauth"
)

func verify(v *oidcauth.Verifier, token string) (*auth.Identity, error) {
	return v.Verify(
		context.Background(), auth.Proof{Mechanism: auth.OAuthBearer, Token: token},
	)
}

func TestTokens(t *testing.T) {
	t.Parallel()
	p := newProvider()
	unix := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(p.token(nil), ".")
	for name, tt := range map[string]struct {
		opt   oidcauth.Config
		user  string // given by the client
		token string
		want  string // the user; empty for a refusal
	}{
		"good": {token: p.token(nil), want: "anna@example.com"},
		"user given": {
			token: p.token(nil), user: "anna@example.com", want: "anna@example.com",
		},
		"user in another case": {
			token: p.token(nil), user: "Anna@example.com", want: "anna@example.com",
		},
		"another user": {token: p.token(nil), user: "boss@example.com"},
		"several audiences": {
			token: p.token(map[string]any{"aud": []string{"web", audience}}),
			want:  "anna@example.com",
		},
		"another audience": {token: p.token(map[string]any{"aud": "web"})},
		"no audience":      {token: p.token(map[string]any{"aud": nil})},
		"another issuer":   {token: p.token(map[string]any{"iss": issuerURL + "/"})},
		"expired": {
			token: p.token(map[string]any{"exp": unix(-2 * time.Minute)}),
		},
		"expired within the skew": {
			token: p.token(map[string]any{"exp": unix(-30 * time.Second)}),
			want:  "anna@example.com",
		},
		"expired, wide skew": {
			opt:   oidcauth.Config{Skew: time.Hour},
			token: p.token(map[string]any{"exp": unix(-2 * time.Minute)}), want: "anna@example.com",
		},
		"without an end": {token: p.token(map[string]any{"exp": nil})},
		"not yet": {
			token: p.token(map[string]any{"nbf": unix(2 * time.Minute)}),
		},
		"not yet, but within skew": {
			token: p.token(map[string]any{"nbf": unix(30 * time.Second)}), want: "anna@example.com",
		},
		"address not verified": {token: p.token(map[string]any{"email_verified": false})},
		"nothing said of it":   {token: p.token(map[string]any{"email_verified": nil})},
		"verified as a string": {
			token: p.token(map[string]any{"email_verified": "true"}), want: "anna@example.com",
		},
		"no address": {token: p.token(map[string]any{"email": nil})},
		"an address with a line end": {
			token: p.token(map[string]any{"email": "anna@example.com\r\nX: y"}),
		},
		"no string": {
			token: p.token(map[string]any{"email": []string{"anna@example.com"}}),
		},
		"another claim": {
			opt: oidcauth.Config{UserClaim: "sub"}, token: p.token(nil), want: "1001",
		},
		"scope": {
			opt:   oidcauth.Config{Scope: "smtp.send"},
			token: p.token(map[string]any{"scope": "openid smtp.send"}), want: "anna@example.com",
		},
		"scope in a list": {
			opt:   oidcauth.Config{Scope: "smtp.send"},
			token: p.token(map[string]any{"scp": []string{"smtp.send"}}), want: "anna@example.com",
		},
		"no scope": {
			opt: oidcauth.Config{Scope: "smtp.send"}, token: p.token(nil),
		},
		"a longer scope": {
			opt:   oidcauth.Config{Scope: "smtp.send"},
			token: p.token(map[string]any{"scope": "smtp.send.none"}),
		},
		"empty":          {},
		"no token":       {token: "secret"},
		"no signature":   {token: parts[0] + "." + parts[1] + "."},
		"algorithm none": {token: "eyJhbGciOiJub25lIn0." + parts[1] + "."},
		"another's key": {
			token: oidctest.SignIDToken(stranger, "a", oidc.EdDSA, claims(nil)),
		},
		"signed with the public key": {
			token: oidctest.SignIDToken(
				[]byte(p.key.Public().(ed25519.PublicKey)), "a", "HS256", claims(nil),
			),
		},
		"signature of another token": {
			token: parts[0] + "." + strings.Split(
				p.token(map[string]any{"email": "boss@example.com"}), ".",
			)[1] + "." + parts[2],
		},
		"a long one": {token: strings.Repeat("a", 9000)},
	} {
		c := auth.Proof{Mechanism: auth.OAuthBearer, Token: tt.token, Username: tt.user}
		id, err := p.verifier(t, tt.opt).Verify(t.Context(), c)
		switch {
		case tt.want == "" && (!errors.Is(err, auth.ErrBadCredentials) || id != nil):
			t.Errorf("%s: %v, %v", name, id, err)
		case tt.want == "" && tt.token != "" &&
			(strings.Contains(err.Error(), tt.token) || len(err.Error()) > 400):
			t.Errorf("%s: the error shows too much: %v", name, err)
		case tt.want != "" && (err != nil || id.User != tt.want):
			t.Errorf("%s: %v, %v", name, id, err)
		}
	}
}

func TestAlgorithms(t *testing.T) {
	t.Parallel()
	rsaKey, err1 := rsa.GenerateKey(rand.Reader, 2048)
	ecKey, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for alg, key := range map[string]crypto.Signer{
		"RS256": rsaKey, "PS256": rsaKey, "ES256": ecKey,
	} {
		p := newProvider()
		p.PublicKeys = append(p.PublicKeys, oidctest.PublicKey{PublicKey: key.Public(), KeyID: "b"})
		if _, err := verify(
			p.verifier(t, oidcauth.Config{}), oidctest.SignIDToken(key, "b", alg, claims(nil)),
		); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

// TestKeys follows the keys of a provider through the hours, alone: others must
// not meet a wait of its bubble in what go-jose shares.
func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		v := p.verifier(t, oidcauth.Config{KeysFor: 30 * time.Minute})
		good := func(when string) {
			t.Helper()
			if _, err := verify(v, p.token(nil)); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		asks := func(when string, want int) {
			t.Helper()
			if p.asks != want {
				t.Errorf("%s: %d requests to the provider, want %d", when, p.asks, want)
			}
			p.asks = 0
		}
		down := func(when, token string) {
			t.Helper()
			if _, err := verify(v, token); err == nil || errors.Is(err, auth.ErrBadCredentials) {
				t.Errorf("%s: %v", when, err)
			}
		}
		for range 5 {
			good("first")
		}
		asks("first", perFetch)

		time.Sleep(time.Minute)
		_, stranger, _ := ed25519.GenerateKey(rand.Reader)
		for range 100 {
			if _, err := verify(
				v, oidctest.SignIDToken(stranger, "a", oidc.EdDSA, claims(nil)),
			); !errors.Is(err, auth.ErrBadCredentials) {
				t.Error(err)
			}
		}
		asks("a hundred forged tokens", perFetch)

		time.Sleep(time.Minute)
		old := p.token(nil)
		p.rotate()
		good("another key")
		asks("another key", perFetch)
		if _, err := verify(v, old); !errors.Is(err, auth.ErrBadCredentials) {
			t.Error("the old key after that:", err)
		}

		time.Sleep(time.Minute)
		p.asks, p.down = 0, true
		good("the provider is away")
		asks("the provider is away", 0)
		down("nobody knows whether there are new keys", old)
		time.Sleep(time.Hour)
		p.asks = 0
		for range 10 {
			down("the keys are old and the provider is away", p.token(nil))
		}
		asks("the keys are old and the provider is away", 1)
		p.down = false
		time.Sleep(10 * time.Second)
		good("the provider is back")
	})
}

// TestHang has one client go away while the provider thinks, which takes
// nothing from the others.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		v := p.verifier(t, oidcauth.Config{})
		p.hang = true
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Verify(
			ctx, auth.Proof{Token: p.token(nil)},
		); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := verify(v, p.token(nil)); err == nil ||
			errors.Is(err, auth.ErrBadCredentials) || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if p.asks != 1 {
			t.Errorf("%d requests at the same time", p.asks)
		}
		p.hang = false
		time.Sleep(10 * time.Second)
		if _, err := verify(v, p.token(nil)); err != nil {
			t.Error(err)
		}
	})
}

// TestProviders are those whose answers are of no use.
func TestProviders(t *testing.T) {
	t.Parallel()
	p := newProvider()
	for name, answers := range map[string]map[string]string{
		"no configuration": {},
		"another issuer": {
			"/.well-known/openid-configuration": `{"issuer":"https://example.net",` +
				`"jwks_uri":"https://login.example.com/keys"}`,
			"/keys": `{}`,
		},
		"keys in the open": {
			"/.well-known/openid-configuration": `{"issuer":"https://login.example.com",` +
				`"jwks_uri":"http://login.example.com/keys"}`,
			"/keys": `{}`,
		},
		"no keys": {
			"/.well-known/openid-configuration": `{"issuer":"https://login.example.com",` +
				`"jwks_uri":"https://login.example.com/keys"}`,
		},
		"no JSON": {
			"/.well-known/openid-configuration": `{"issuer":"https://login.example.com",` +
				`"jwks_uri":"https://login.example.com/keys"}`,
			"/keys": `<html>`,
		},
		"a shared secret": {"/.well-known/openid-configuration": `{"issuer":"https://login.example.com","jwks_uri":"https://login.example.com/keys"}`,
			"/keys": `{"keys":[{"kty":"oct","k":"c2VjcmV0"},` +
				`{"kty":"new"},{"kty":"OKP","crv":"Ed25519",` +
				`"use":"enc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`},
	} {
		mux := http.NewServeMux()
		for path, answer := range answers {
			mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, answer)
			})
		}
		v, err := oidcauth.New(
			oidcauth.Config{
				Issuer: issuerURL, Audience: audience,
				Client: &http.Client{Transport: transport{mux}},
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verify(v, p.token(nil)); err == nil || errors.Is(err, auth.ErrBadCredentials) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type transport struct{ http.Handler }

func (h transport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, opt := range []oidcauth.Config{
		{Audience: audience},
		{Issuer: "login.example.com", Audience: audience},
		{Issuer: "http://login.example.com", Audience: audience},
		{Issuer: issuerURL},
		{Issuer: issuerURL, Audience: audience, Skew: -1},
		{Issuer: issuerURL, Audience: audience, KeysFor: -1},
	} {
		if _, err := oidcauth.New(opt); err == nil {
			t.Errorf("taken: %+v", opt)
		}
	}
}

func FuzzVerify(f *testing.F) {
	p := newProvider()
	v, err := oidcauth.New(
		oidcauth.Config{Issuer: issuerURL, Audience: audience, Client: &http.Client{Transport: p}},
	)
	if err != nil {
		f.Fatal(err)
	}
	good := p.token(nil)
	f.Add(good)
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add(`{"payload":"e30","signatures":[{},{}]}`)
	f.Fuzz(func(t *testing.T, token string) {
		id, err := verify(v, token)
		if err == nil && id.User != "anna@example.com" ||
			err != nil && !errors.Is(err, auth.ErrBadCredentials) {
			t.Errorf("%v, %v", id, err)
		}
	})
}

// Example logs a user on whose token comes from a provider on this host.
func Example() {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	login := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: public, KeyID: "2026"}}}
	s := httptest.NewServer(login)
	defer s.Close()
	login.SetIssuer(s.URL)

	tokens, err := oidcauth.New(oidcauth.Config{Issuer: s.URL, Audience: "mail"})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &auth.Server{
		Tokens: tokens, OpenIDConfiguration: s.URL + "/.well-known/openid-configuration",
	}

	token := oidctest.SignIDToken(private, "2026", oidc.EdDSA, fmt.Sprintf(
		`{"iss": %q, "aud": "mail", "exp": %d, "email": "anna@example.com", "email_verified": `+
			`true}`, s.URL, time.Now().Add(time.Hour).Unix()))
	for _, token := range []string{token, "stale"} {
		x, err := server.Begin(auth.OAuthBearer, auth.Conn{TLS: &tls.ConnectionState{}})
		if err != nil {
			fmt.Println(err)
			return
		}
		challenge, done, err := x.Next(
			context.Background(), []byte("n,,\x01auth=Bearer "+token+"\x01\x01"),
		)
		fmt.Println(done, err, len(challenge) > 0)
		if done {
			fmt.Println(x.Identity().User)
		}
	}
	// Output:
	// true <nil> false
	// anna@example.com
	// false <nil> true
}
