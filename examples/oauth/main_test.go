package main

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

const anna = "anna@example.com"

func TestOAuth(t *testing.T) {
	sink := mailtest.NewSink(t)
	provider, err := startIssuer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o := options{listen: netip.MustParseAddrPort("127.0.0.1:0"), smartHost: sink.Addr, issuer: provider.address, audience: "mail"}
	o.certificate, o.key, _ = mailtest.Certificate(t, dir)
	start := func() string {
		t.Helper()
		cfg, err := config(memspool.New(nil), o)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Connectors[0].Limits.Tarpit, cfg.Connectors[0].Limits.AuthTarpit = -1, -1 // no waiting here
		cfg.Auth.Throttle = nil
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		mailtest.Run(t, r)
		return strings.Replace(r.Addrs("submission")[0].String(), "127.0.0.1", "localhost", 1)
	}
	message := filepath.Join(dir, "message.eml")
	mailtest.Write(t, message, "From: <anna@example.com>\r\nTo: <bob@example.net>\r\nSubject: hello\r\n\r\nHello\r\n")

	// send has curl send the message, and returns the dialogue.
	send := func(addr, mechanism, token string, args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "curl", append([]string{
			"--silent", "--verbose", "--max-time", "10", "--ipv4", "--ssl-reqd", "--cacert", filepath.Join(dir, "ca.pem"),
			"smtp://" + addr + "/client.example.com", "--login-options", "AUTH=" + mechanism, "--user", anna, "--oauth2-bearer", token,
			"--mail-from", anna, "--mail-rcpt", "bob@example.net", "--upload-file", message,
		}, args...)...).CombinedOutput()
		return string(out), err
	}
	addr := start()
	good := provider.token("mail", anna)
	for _, mechanism := range []string{"OAUTHBEARER", "XOAUTH2"} {
		out, err := send(addr, mechanism, good)
		if err != nil || !strings.Contains(out, "AUTH OAUTHBEARER XOAUTH2\r\n") { // and no others
			t.Fatalf("%s: %v\n%s", mechanism, err, out)
		}
		if m := sink.Next(t); m.From != anna || !strings.Contains(m.Content, "Subject: hello") {
			t.Errorf("%s: arrived: %+v", mechanism, m)
		}
	}
	claims := func(name string, value any) string {
		all := map[string]any{"iss": o.issuer, "aud": "mail", "exp": time.Now().Add(time.Hour).Unix(), "email": anna, "email_verified": true}
		all[name] = value
		return provider.sign(all)
	}
	for name, tt := range map[string]struct {
		token string
		args  []string
		reply string
	}{
		"another sender":   {good, []string{"--mail-from", "boss@example.com"}, "550 5.7.60"},
		"expired":          {claims("exp", time.Now().Add(-time.Hour).Unix()), nil, "535 5.7.8"},
		"another audience": {claims("aud", "web"), nil, "535 5.7.8"},
		"another user":     {claims("email", "boss@example.com"), nil, "535 5.7.8"},
		"not verified":     {claims("email_verified", false), nil, "535 5.7.8"},
		"forged":           {good[:len(good)-8] + "AAAAAAAA", nil, "535 5.7.8"},
	} {
		for _, mechanism := range []string{"OAUTHBEARER", "XOAUTH2"} {
			if out, err := send(addr, mechanism, tt.token, tt.args...); err == nil || !strings.Contains(out, "< "+tt.reply) {
				t.Errorf("%s, %s: %v\n%s", name, mechanism, err, out)
			}
		}
	}

	// Nobody knows whether a token is good while the provider is away.
	away := start()
	if err := provider.server.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := send(away, "OAUTHBEARER", good); err == nil || !strings.Contains(out, "< 454 4.7.0") {
		t.Errorf("%v\n%s", err, out)
	}
	// The first relay has the keys.
	if out, err := send(addr, "OAUTHBEARER", good); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestDemonstration makes no tokens for a relay that others reach.
func TestDemonstration(t *testing.T) {
	err := run(options{listen: netip.MustParseAddrPort("0.0.0.0:2587")}, filepath.Join(t.TempDir(), "spool"))
	if err == nil || !strings.HasPrefix(err.Error(), "-issuer: ") {
		t.Errorf("got %v", err)
	}
}
