package oauthclient_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth/oauthclient"
)

// TestTokenIsKept until shortly before its end, or until a host refuses it.
func TestTokenIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{life: 3600}
		s := p.source(t, application())
		wantToken(t, s, "", "token1")
		time.Sleep(58 * time.Minute)
		wantToken(t, s, "", "token1")
		wantToken(t, s, "another", "token1")
		time.Sleep(time.Minute)
		wantToken(t, s, "", "token2")
		wantToken(t, s, "token2", "token3")
		wantToken(t, s, "token2", "token3") // by another connection
		p.life = 100
		wantToken(t, s, "token3", "token4")
		time.Sleep(89 * time.Second)
		wantToken(t, s, "", "token4")
		time.Sleep(time.Second)
		wantToken(t, s, "", "token5")
	})
}

// TestTokenWithoutEnd is kept until it is refused.
func TestTokenWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(provider).source(t, application())
		wantToken(t, s, "", "token1")
		time.Sleep(1000 * time.Hour)
		wantToken(t, s, "", "token1")
		wantToken(t, s, "token1", "token2")
	})
}

// TestOldTokenServesToItsEnd if the provider is away.
func TestOldTokenServesToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{life: 3600}
		s := p.source(t, application())
		wantToken(t, s, "", "token1")
		p.status, p.body = http.StatusServiceUnavailable, "down"
		time.Sleep(time.Hour - time.Second)
		wantToken(t, s, "", "token1")
		if p.asked() != 2 {
			t.Errorf("asked %d times", p.asked())
		}
		time.Sleep(time.Second)
		_, err := s.Token(t.Context(), "")
		if text := fmt.Sprint(err); text != "oauthclient: the provider answers 503 Service "+
			"Unavailable" {
			t.Error(text)
		}
		if _, err := s.Token(t.Context(), "token1"); err == nil {
			t.Error("a refused token was given again")
		}
	})
}

// TestOldTokenIsGivenAtOnce while a provider that is slow to fail is asked for
// another: one in ten seconds waits for it.
func TestOldTokenIsGivenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{life: 3600}
		s := p.source(t, application())
		wantToken(t, s, "", "token1")
		time.Sleep(59 * time.Minute)
		p.takes = time.Hour
		start := time.Now()
		for range 20 {
			wantToken(t, s, "", "token1")
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("after %v", d)
		}
		time.Sleep(50 * time.Second)
		if _, err := s.Token(t.Context(), ""); err == nil {
			t.Error("a token that has ended was given")
		}
	})
}

// TestSlowProvider: everybody waits for one answer, ten seconds at most, and
// nobody longer than the context lets him.
func TestSlowProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{takes: 5 * time.Second, life: 3600}
		s := p.source(t, application())
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { wantToken(t, s, "", "token1") })
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := s.Token(ctx, ""); !errors.Is(err, context.DeadlineExceeded) ||
			time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		wg.Wait()
		if p.asked() != 1 {
			t.Errorf("asked %d times", p.asked())
		}
		p.takes, start = time.Hour, time.Now()
		if _, err := s.Token(t.Context(), "token1"); err == nil ||
			time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestRotatedRefreshToken is used from then on, and given out with no token
// before it is stored.
func TestRotatedRefreshToken(t *testing.T) {
	p := &provider{rotate: true}
	full := errors.New("disk full")
	var stored []string
	s := p.source(t, oauthclient.Config{
		ClientID: "app", RefreshToken: "refresh0",
		StoreRefreshToken: func(refresh string) error {
			stored = append(stored, refresh)
			return full
		},
	})
	for range 2 {
		if _, err := s.Token(t.Context(), ""); !errors.Is(err, full) {
			t.Errorf("not stored: %v", err)
		}
	}
	full = nil
	wantToken(t, s, "", "token1")
	wantToken(t, s, "token1", "token2")
	if got := p.last().Get("refresh_token"); got != "refresh1" {
		t.Errorf("asked with %s", got)
	}
	want := "refresh1 refresh1 refresh1 refresh2"
	if got := strings.Join(stored, " "); got != want {
		t.Errorf("stored %s", got)
	}
}

// TestErrors tell what the provider says, in one line, and no secrets.
func TestErrors(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":"invalid_client","error_description":"AADSTS7000215:\r\nno"}`: "oauthclient: " +
			"the provider answers 401 Unauthorized: invalid_client: AADSTS7000215:  no",
		`{"error":"invalid_grant"}`: "oauthclient: the provider answers 401 Unauthorized: " +
			"invalid_grant",
		`{"error":"invalid_client","error_description":"s3cr3t is wrong"}`: "oauthclient: " +
			"the provider answers 401 Unauthorized: invalid_client: (secret) is wrong",
		`you sent s3cr3t`: "oauthclient: the provider answers 401 Unauthorized",
	} {
		p := &provider{status: http.StatusUnauthorized, body: body}
		_, err := p.source(t, application()).Token(t.Context(), "")
		if got := fmt.Sprint(err); got != want {
			t.Errorf("%s: %s", body, got)
		}
	}
	for body, want := range map[string]string{
		`{"access_token":"x","token_type":"mac"}`: "the token is no bearer token",
		`{}`:               "missing access_token",
		`{"access_token":`: "JSON",
		`{"access_token":"` + strings.Repeat("x", 2<<20) + `"}`: "JSON", // it is cut off
	} {
		p := &provider{body: body}
		_, err := p.source(t, application()).Token(t.Context(), "")
		if !strings.Contains(fmt.Sprint(err), want) || len(fmt.Sprint(err)) > 300 {
			t.Errorf("%.40s: %.500s", body, fmt.Sprint(err))
		}
	}
}

// TestConfig holds it to one way to prove who asks.
func TestConfig(t *testing.T) {
	_, pem, certificate := rsaKey(t)
	const url = "https://login.example.com/token"
	account := func(a oauthclient.ServiceAccount) *oauthclient.ServiceAccount { return &a }
	for name, c := range map[string]struct {
		cfg  oauthclient.Config
		want string // fields with faults
	}{
		"secret": {oauthclient.Config{TokenURL: url, ClientID: "a", ClientSecret: "s"}, ""},
		"public": {oauthclient.Config{TokenURL: url, ClientID: "a", RefreshToken: "r"}, ""},
		"certificate": {
			oauthclient.Config{TokenURL: url, ClientID: "a", Certificate: &certificate}, "",
		},
		"loopback": {oauthclient.Config{
			TokenURL: "http://127.0.0.1:80/", ClientID: "a", ClientSecret: "s",
		}, ""},
		"account": {oauthclient.Config{TokenURL: url, ServiceAccount: account(
			oauthclient.ServiceAccount{Email: "e", User: "u", Key: pem},
		)}, ""},
		"zero": {oauthclient.Config{}, "TokenURL ClientID ClientSecret"},
		"clear": {oauthclient.Config{
			TokenURL: "http://login.example.com", ClientID: "a", ClientSecret: "s",
		}, "TokenURL"},
		"two proofs": {oauthclient.Config{
			TokenURL: url, ClientID: "a", ClientSecret: "s", Certificate: &certificate,
		}, "Certificate"},
		"nothing to store": {oauthclient.Config{
			TokenURL: url, ClientID: "a", ClientSecret: "s",
			StoreRefreshToken: func(string) error { return nil },
		}, "StoreRefreshToken"},
		"bad account": {
			oauthclient.Config{
				TokenURL: url, ServiceAccount: account(oauthclient.ServiceAccount{}),
				RefreshToken: "r",
			},
			"ServiceAccount.Email ServiceAccount.User ServiceAccount.Key RefreshToken",
		},
	} {
		var fields []string
		if _, err := oauthclient.New(c.cfg); err != nil {
			for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
				fe, ok := errors.AsType[*postern.FieldError](err)
				if !ok {
					t.Fatal(err)
				}
				fields = append(fields, fe.Field)
			}
		}
		if got := strings.Join(fields, " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestSecretsStayOut of what is printed.
func TestSecretsStayOut(t *testing.T) {
	cfg := application()
	cfg.RefreshToken = "s3cr3t-too"
	s := new(provider).source(t, cfg)
	wantToken(t, s, "", "token1")
	text := fmt.Sprintf("%v %+v %#v %v %+v %#v", cfg, cfg, cfg, s, s, s)
	account := oauthclient.ServiceAccount{Email: "e", User: "u", Key: []byte("s3cr3t")}
	text += fmt.Sprintf("%s %+v %#v", account, &account, account)
	if strings.Contains(text, "s3cr3t") || strings.Contains(text, "token1") {
		t.Error(text)
	}
}
