package main

import (
	"cmp"
	"context"
	"io"
	"net/netip"
	"os"
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

// site is a provider, a next hop, and what a relay between them is told.
type site struct {
	options
	dir      string
	provider *issuer
	sink     *mailtest.Sink
}

func newSite(t *testing.T) site {
	t.Helper()
	provider, err := startIssuer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := site{dir: t.TempDir(), provider: provider, sink: mailtest.NewSink(t)}
	s.options = options{
		listen: netip.MustParseAddrPort("127.0.0.1:0"), smartHost: s.sink.Addr,
		issuer: provider.address, audience: "mail",
	}
	s.certificate, s.key, _ = mailtest.Certificate(t, s.dir)
	return s
}

// start runs a relay for the length of the test, and returns where it takes
// mail.
func (s site) start(t *testing.T) netip.AddrPort {
	t.Helper()
	cfg, err := config(s.options)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Spool = memspool.New(nil)
	// no waiting here
	cfg.Connectors[0].Limits.Tarpit, cfg.Connectors[0].Limits.AuthTarpit = -1, -1
	cfg.Auth.Throttle = nil
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)
	return r.Addrs("submission")[0]
}

func TestOAuth(t *testing.T) {
	mailtest.Programs(t)
	s := newSite(t)
	dir, sink, provider := s.dir, s.sink, s.provider
	start := func() string {
		t.Helper()
		return strings.Replace(s.start(t).String(), "127.0.0.1", "localhost", 1)
	}
	message := filepath.Join(dir, "message.eml")
	mailtest.Write(
		t, message,
		"From: <anna@example.com>\r\nTo: <bob@example.net>\r\nSubject: hello\r\n\r\nHello\r\n",
	)

	// send has curl send the message, and returns the dialogue.
	send := func(addr, mechanism, token string, args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "curl", append([]string{
			"--silent", "--verbose", "--max-time", "60", "--ipv4", "--ssl-reqd", "--cacert",
			filepath.Join(dir, "ca.pem"),
			"smtp://" + addr + "/client.example.com", "--login-options", "AUTH=" + mechanism,
			"--user", anna, "--oauth2-bearer", token,
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
		all := map[string]any{
			"iss": s.issuer, "aud": "mail", "exp": time.Now().Add(time.Hour).Unix(), "email": anna,
			"email_verified": true,
		}
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
			if out, err := send(addr, mechanism, tt.token, tt.args...); err == nil ||
				!strings.Contains(out, "< "+tt.reply) {
				t.Errorf("%s, %s: %v\n%s", name, mechanism, err, out)
			}
		}
	}

	// Nobody knows whether a token is good while the provider is away.
	away := start()
	if err := provider.server.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := send(away, "OAUTHBEARER", good); err == nil ||
		!strings.Contains(out, "< 454 4.7.0") {
		t.Errorf("%v\n%s", err, out)
	}
	// The first relay has the keys.
	if out, err := send(addr, "OAUTHBEARER", good); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestDemonstration does what the program prints.
func TestDemonstration(t *testing.T) {
	mailtest.Programs(t)
	sink := mailtest.NewSink(t)
	dir := t.TempDir()
	o := options{
		listen: netip.MustParseAddrPort("127.0.0.1:0"), smartHost: sink.Addr, audience: "mail",
	}
	o.certificate, o.key, _ = mailtest.Certificate(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	printed, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, out, o, filepath.Join(dir, "spool"))
		out.CloseWithError(cmp.Or(err, io.EOF))
		done <- err
	}()
	command := make([]byte, 4096)
	n, err := printed.Read(command)
	if err != nil {
		t.Fatal(err)
	}
	curl := exec.CommandContext(ctx, "sh", "-c", string(command[:n]))
	curl.Env = append(os.Environ(), "NO_PROXY=*")
	if out, err := curl.CombinedOutput(); err != nil {
		t.Fatalf("%s%v\n%s", command[:n], err, out)
	}
	if m := sink.Next(t); m.From != anna || !strings.Contains(m.Content, "Subject: hello\n") {
		t.Errorf("arrived: %+v", m)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestFaults are found before the queue is opened. No tokens are made for a
// relay that others reach.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	for want, o := range map[string]options{
		"-issuer: ": {listen: netip.MustParseAddrPort("0.0.0.0:2587")},
		"cert.pem: ": {
			listen:      netip.MustParseAddrPort("127.0.0.1:2587"),
			certificate: filepath.Join(dir, "cert.pem"),
		},
	} {
		err := run(t.Context(), io.Discard, o, filepath.Join(dir, "spool"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "spool")); err == nil {
		t.Error("the queue was opened")
	}
}
