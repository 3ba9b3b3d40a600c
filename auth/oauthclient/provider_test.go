package oauthclient_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth/oauthclient"
)

// provider is a token server that is asked without a network. It numbers its
// tokens.
type provider struct {
	life   int           // seconds; 0: not said
	takes  time.Duration // over an answer
	rotate bool          // refresh tokens
	status int           // 0: 200
	body   string        // "": a token

	mu    sync.Mutex
	forms []url.Values
	basic []string // of HTTP's basic authentication
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := r.ParseForm(); err != nil {
		panic(err)
	}
	p.forms = append(p.forms, r.PostForm)
	user, password, _ := r.BasicAuth()
	p.basic = append(p.basic, user+":"+password)
	w.Header().Set("Content-Type", "application/json")
	if p.status != 0 {
		w.WriteHeader(p.status)
	}
	if p.body != "" {
		fmt.Fprint(w, p.body)
		return
	}
	answer := map[string]any{
		"access_token": fmt.Sprint("token", len(p.forms)), "token_type": "Bearer",
	}
	if p.life > 0 {
		answer["expires_in"] = p.life
	}
	if p.rotate {
		answer["refresh_token"] = fmt.Sprint("refresh", len(p.forms))
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		panic(err)
	}
}

// RoundTrip answers inside of the process, so that a test has its own time.
func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(p.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result(), nil
}

func (p *provider) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.forms)
}

// last returns the last request.
func (p *provider) last() url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forms[len(p.forms)-1]
}

// source returns one that asks p.
func (p *provider) source(t *testing.T, cfg oauthclient.Config) *oauthclient.Source {
	t.Helper()
	cfg.Client = &http.Client{Transport: p}
	if cfg.TokenURL == "" {
		cfg.TokenURL = "https://login.example.com/token"
	}
	s, err := oauthclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// application is a client with a secret.
func application() oauthclient.Config {
	return oauthclient.Config{ClientID: "app", ClientSecret: "s3cr3t", Scopes: []string{"send"}}
}

func wantToken(t *testing.T, s *oauthclient.Source, refused, want string) {
	t.Helper()
	if token, err := s.Token(t.Context(), refused); token != want || err != nil {
		t.Errorf("%q, %v; want %s", token, err, want)
	}
}

// rsaKey returns a key, the same in PEM, and a certificate.
func rsaKey(t *testing.T) (*rsa.PrivateKey, []byte, tls.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		tls.Certificate{Certificate: [][]byte{cert}, PrivateKey: key}
}
