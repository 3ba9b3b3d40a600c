package oauthclient_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth/oauthclient"
)

// TestGrants: what a Config has is what the provider is sent.
func TestGrants(t *testing.T) {
	microsoft := oauthclient.Microsoft365("contoso.example", "app", "s3cr3t")
	header := application()
	header.SecretInHeader = true
	for name, c := range map[string]struct {
		cfg  oauthclient.Config
		want string
	}{
		"client credentials": {microsoft, "client_id=app&client_secret=s3cr3t&grant_type=" +
			"client_credentials&scope=https%3A%2F%2Foutlook.office365.com%2F.default :"},
		"in the header": {header, "grant_type=client_credentials&scope=send app:s3cr3t"},
		"refresh token": {oauthclient.Google("app", "s3cr3t", "r"), "client_id=app&" +
			"client_secret=s3cr3t&grant_type=refresh_token&refresh_token=r :"},
		"public client": {oauthclient.Config{
			TokenURL: "https://login.example.com", ClientID: "app", RefreshToken: "r",
		}, "client_id=app&grant_type=refresh_token&refresh_token=r :"},
	} {
		p := &provider{}
		wantToken(t, p.source(t, c.cfg), "", "token1")
		if got := p.last().Encode() + " " + p.basic[0]; got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
	}
	if got := microsoft.TokenURL; got != "https://login.microsoftonline.com/contoso.example/"+
		"oauth2/v2.0/token" {
		t.Error(got)
	}
}

// TestCertificateProvesTheClient by a signature over what it asks.
func TestCertificateProvesTheClient(t *testing.T) {
	key, _, certificate := rsaKey(t)
	cfg := oauthclient.Microsoft365("contoso.example", "app", "")
	cfg.Certificate = &certificate
	p := &provider{}
	wantToken(t, p.source(t, cfg), "", "token1")
	form := p.last()
	head, claims := verified(t, form.Get("client_assertion"), func(sum, signature []byte) error {
		return rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, sum, signature, nil)
	})
	thumb := sha256.Sum256(certificate.Certificate[0])
	if head["x5t#S256"] != base64.RawURLEncoding.EncodeToString(thumb[:]) ||
		head["alg"] != "PS256" || claims["iss"] != "app" || claims["sub"] != "app" ||
		claims["aud"] != cfg.TokenURL || claims["jti"] == "" ||
		form.Get("client_assertion_type") !=
			"urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Has("client_secret") {
		t.Errorf("%v\n%v\n%v", form, head, claims)
	}
}

// TestServiceAccount signs for a user.
func TestServiceAccount(t *testing.T) {
	key, pem, _ := rsaKey(t)
	file, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "app@project.example",
		"private_key":    string(pem),
		"private_key_id": "k1",
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := oauthclient.GoogleServiceAccount(file, "shop@example.com")
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{life: 3600}
	s := p.source(t, cfg)
	wantToken(t, s, "", "token1")
	head, claims := verified(t, p.last().Get("assertion"), func(sum, signature []byte) error {
		return rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum, signature)
	})
	if head["kid"] != "k1" || claims["iss"] != "app@project.example" ||
		claims["sub"] != "shop@example.com" || claims["scope"] != "https://mail.google.com/" ||
		claims["aud"] != "https://oauth2.googleapis.com/token" {
		t.Errorf("%v\n%v", head, claims)
	}
	p.status, p.body = http.StatusUnauthorized, `{"error":"unauthorized_client"}`
	_, err = s.Token(t.Context(), "token1")
	if got := fmt.Sprint(err); !strings.HasSuffix(got, "401 Unauthorized: unauthorized_client") {
		t.Error(got)
	}
	for _, bad := range []string{"", "{}", `{"type":"authorized_user"}`} {
		if _, err := oauthclient.GoogleServiceAccount([]byte(bad), "u"); err == nil {
			t.Errorf("%q is no fault", bad)
		}
	}
}

// verified returns the head and the claims of a signed token.
func verified(
	t *testing.T, token string, verify func(sum, signature []byte) error,
) (head, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", token)
	}
	for i, into := range []any{&head, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err == nil {
		err = verify(sum[:], signature)
	}
	if err != nil {
		t.Fatal(err)
	}
	return head, claims
}

// TestRedirectionIsNotFollowed, since it would take the secret elsewhere.
func TestRedirectionIsNotFollowed(t *testing.T) {
	elsewhere := &provider{}
	other := httptest.NewServer(elsewhere)
	defer other.Close()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	cfg := application()
	cfg.TokenURL, cfg.Client = server.URL, server.Client()
	s, err := oauthclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Token(t.Context(), "")
	if err == nil || elsewhere.asked() != 0 {
		t.Errorf("%v, %d requests elsewhere", err, elsewhere.asked())
	}
}
