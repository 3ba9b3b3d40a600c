package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"time"
)

// issuer stands for an OpenID Connect provider. It lives in this process and
// asks nobody for a password.
type issuer struct {
	address string
	key     ed25519.PrivateKey
	server  *http.Server
}

// startIssuer serves what a provider publishes until ctx ends.
func startIssuer(ctx context.Context) (*issuer, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	pages := http.NewServeMux()
	i := &issuer{
		address: "http://" + l.Addr().String(),
		key:     private,
		server:  &http.Server{Handler: pages, ReadHeaderTimeout: 10 * time.Second},
	}
	serve := func(path string, page any) {
		pages.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(page)
		})
	}
	serve(
		"/.well-known/openid-configuration",
		map[string]string{"issuer": i.address, "jwks_uri": i.address + "/keys"},
	)
	serve("/keys", map[string]any{"keys": []map[string]string{ // RFC 8037 section 2
		{
			"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "demo",
			"x": base64.RawURLEncoding.EncodeToString(public),
		},
	}})
	context.AfterFunc(ctx, func() { _ = i.server.Close() })
	go func() { _ = i.server.Serve(l) }()
	return i, nil
}

// token makes one that is good for an hour (RFC 7519).
func (i *issuer) token(audience, email string) string {
	return i.sign(map[string]any{
		"iss": i.address, "aud": audience, "sub": email, "exp": time.Now().Add(time.Hour).Unix(),
		"email": email, "email_verified": true,
	})
}

func (i *issuer) sign(claims map[string]any) string {
	body, err := json.Marshal(claims)
	if err != nil {
		panic(err) // the claims are those above
	}
	b64 := base64.RawURLEncoding.EncodeToString
	token := b64([]byte(`{"alg":"EdDSA","kid":"demo"}`)) + "." + b64(body)
	return token + "." + b64(ed25519.Sign(i.key, []byte(token)))
}
