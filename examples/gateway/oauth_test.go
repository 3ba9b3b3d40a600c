package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// withTokens is the sample with an oauth table of these lines.
func withTokens(t *testing.T, lines string) (config string) {
	t.Helper()
	text := strings.Replace(sample(t), `tls = "Opportunistic"`, "tls = \"DomainValidation\"\n"+
		"tls_domain = \"smtp.example.test\"\nusername = \"shop@example.test\" #", 1)
	config = site(
		t, strings.Replace(text, "[retry]", "[send_connector.oauth]\n"+lines+"\n[retry]", 1),
	)
	mailtest.Write(t, filepath.Join(filepath.Dir(config), "secret.txt"), "s3cr3t\n")
	return config
}

// TestTokens: the gateway asks for tokens with what the files say, and keeps a
// new refresh token.
func TestTokens(t *testing.T) {
	var asked []string
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(
			asked, r.PostFormValue("refresh_token")+" "+r.PostFormValue("client_secret"),
		)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{
			"access_token": "token", "token_type": "Bearer",
			"refresh_token": fmt.Sprint("refresh", len(asked)),
		})
	}))
	defer web.Close()
	config := withTokens(t, fmt.Sprintf("token_url = %q\nclient_id = \"shop\"\n"+
		"client_secret_file = \"secret.txt\"\nrefresh_token_file = \"refresh.txt\"", web.URL))
	file := filepath.Join(filepath.Dir(config), "refresh.txt")
	mailtest.Write(t, file, "refresh0\n")
	for range 2 { // also by another gateway
		cfg, _, found := load(config, newLasting(), slog.New(slog.DiscardHandler))
		if len(found) > 0 {
			t.Fatal(found)
		}
		token, err := cfg.SendConnectors[0].Tokens.Token(t.Context(), "")
		if token != "token" || err != nil {
			t.Errorf("%q, %v", token, err)
		}
	}
	if got := strings.Join(asked, ", "); got != "refresh0 s3cr3t, refresh1 s3cr3t" {
		t.Error(got)
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "refresh2\n" {
		t.Errorf("%q, %v", text, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestFaultsOfTokens have the names of their keys, and no others follow.
func TestFaultsOfTokens(t *testing.T) {
	const secret = "client_id = \"shop\"\nclient_secret_file = \"secret.txt\"\n"
	for lines, want := range map[string]string{
		"provider = \"Microsoft365\"\ntenant = \"x\"\n" + secret:         "",
		"provider = \"Microsoft365\"\n" + secret:                         "tenant",
		"provider = \"Gmail\"\n" + secret:                                "provider",
		secret:                                                           "token_url",
		"provider = \"Google\"\nclient_id = \"shop\"":                    "client_secret_file",
		"provider = \"GoogleServiceAccount\"":                            "key_file",
		"provider = \"GoogleServiceAccount\"\nkey_file = \"secret.txt\"": "key_file",
		"token_url = \"http://login.example.test\"\n" + secret:           "token_url",
		"token_url = \"https://a.test\"\nclient_id = \"x\"\n" +
			"refresh_token_file = \"missing\"": "refresh_token_file",
		"provider = \"Microsoft365\"": "tenant client_id client_secret_file",
		"provider = \"Microsoft365\"\nclient_secret_file = \"missing\"": "tenant " +
			"client_secret_file client_id",
		"token_url = \"https://a.test\"\n" +
			"certificate = { certificate = \"missing\", key = \"missing\" }": "" +
			"certificate.certificate certificate.key client_id",
		"speed = 1": "speed token_url client_id client_secret_file",
	} {
		_, _, found := load(withTokens(t, lines), newLasting(), slog.New(slog.DiscardHandler))
		var fields []string
		for _, f := range found {
			fields = append(fields, strings.TrimPrefix(f.field, "send_connector[0].oauth."))
		}
		if got := strings.Join(fields, " "); got != want {
			t.Errorf("%s: %q, want %q", lines, got, want)
		}
	}
	config := withTokens(t, "provider = \"Microsoft365\"\ntenant = \"x\"\n"+secret)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Write(t, config, strings.Replace(
		string(text), "tls = \"DomainValidation\"\ntls_domain", "password_file = \"secret.txt\"\n"+
			"tls = \"DomainValidation\"\ntls_domain", 1,
	))
	_, _, found := load(config, newLasting(), slog.New(slog.DiscardHandler))
	if len(found) != 1 || found[0].field != "send_connector[0].oauth" {
		t.Errorf("both: %v", found)
	}
}
