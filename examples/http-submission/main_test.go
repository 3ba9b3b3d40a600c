package main

import (
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func TestHTTPSubmission(t *testing.T) {
	mailtest.Programs(t)
	sink := mailtest.NewSink(t)
	dir := t.TempDir()
	o := options{
		smtp: netip.MustParseAddrPort("127.0.0.1:0"), smartHost: sink.Addr,
		users: filepath.Join(dir, "users.htpasswd"),
	}
	o.certificate, o.key, _ = mailtest.Certificate(t, dir)
	mailtest.Htpasswd(t, o.users, "app@example.com", "secret")
	keys := auth.NewKeyring(new(auth.MemoryCredentials), nil)
	token, _, err := keys.Issue(t.Context(), auth.Credential{Owner: "app@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config(keys, o)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Spool = memspool.New(nil)
	r, server, err := newServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go server.ServeTLS(l, "", "")

	_, port, _ := net.SplitHostPort(l.Addr().String())
	curl := func(path string, args ...string) string {
		t.Helper()
		args = append(
			[]string{
				"-sS", "--noproxy", "*", "--max-time", "60", "--cacert", o.certificate, "-w",
				"\n%{http_code}",
			},
			args...,
		)
		out, err := exec.CommandContext(
			t.Context(), "curl", append(args, "https://localhost:"+port+path)...,
		).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v\n%s", err, out)
		}
		return string(out)
	}
	want := func(out, status string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("no %q in %s", w, out)
			}
		}
		if !strings.HasSuffix(out, "\n"+status) {
			t.Errorf("%s, want %s", out, status)
		}
	}
	asJSON := []string{"-u", "app@example.com:secret", "-H", "Content-Type: application/json", "-d"}

	want(
		curl(
			"/messages",
			append(
				asJSON,
				`{"from":"app@example.com","to":["somebody@example.net"],`+
					`"subject":"hello","text":"Hello.\n"}`,
			)...,
		),
		"202", `"queue_id"`,
	)
	if m := sink.Next(t); m.From != "app@example.com" ||
		!strings.Contains(m.Content, "\nSubject: hello\n") ||
		!strings.Contains(m.Content, "with HTTPS") {
		t.Errorf("arrived: %+v", m)
	}
	want(curl("/messages?from=app@example.com&to=somebody@example.net", "-u",
		"app@example.com:secret",
		"-H", "Content-Type: message/rfc822", "--data-binary", "From: app@example.com\nSubject: "+
			"as it is\n\nHello.\n"), "202")
	if m := sink.Next(t); !strings.Contains(m.Content, "\nSubject: as it is\n\nHello.\n") {
		t.Errorf("arrived: %+v", m)
	}
	want(curl("/messages", "--oauth2-bearer", token, "-H", "Content-Type: application/json",
		"-d", `{"from":"app@example.com","to":["somebody@example.net"],"subject":"by token"}`),
		"202")
	if m := sink.Next(t); !strings.Contains(m.Content, "\nSubject: by token\n") {
		t.Errorf("arrived: %+v", m)
	}
	want(
		curl(
			"/messages",
			append(asJSON, `{"from":"boss@example.com","to":["somebody@example.net"]}`)...,
		),
		"403", "5.7.60",
	)
	want(
		curl("/messages", append(asJSON, `{"from":"app@example.com","to":["a b"]}`)...), "400",
		"#/to/0",
	)
	want(curl("/messages", "-X", "POST"), "401", "5.7.1")
	want(curl("/openapi.json"), "200", `"openapi": "3.1.0"`)

	t.Run("renewed certificate", func(t *testing.T) {
		_, _, client := mailtest.Certificate(t, dir) // over the first
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for name, dial := range map[string]func() error{
			"HTTPS": func() error {
				c, err := tls.Dial("tcp4", l.Addr().String(), client)
				if err == nil {
					c.Close()
				}
				return err
			},
			"SMTP": func() error {
				c, err := mailtest.Dial("127.0.0.1", r.Addrs("submission")[0].String())
				if err != nil {
					return err
				}
				defer c.Close()
				return c.StartTLS(client)
			},
		} {
			err := dial()
			for deadline := time.Now().Add(mailtest.Patience); err != nil &&
				time.Now().Before(deadline); err = dial() {
				<-tick.C
			}
			if err != nil {
				t.Errorf("%s still has the certificate before: %v", name, err)
			}
		}
	})
	t.Run("wrong password", func(t *testing.T) { // refused after a delay of five seconds
		t.Parallel()
		want(curl("/messages", "-u", "app@example.com:wrong", "-X", "POST"), "401", "5.7.8")
	})
}

// TestFaults are told all at once, before the queue is opened.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	err := run(
		options{certificate: filepath.Join(dir, "cert.pem"), users: filepath.Join(dir, "users")},
		filepath.Join(dir, "spool"),
	)
	for _, want := range []string{"cert.pem: ", "users: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no fault of %q in %v", want, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "spool")); err == nil {
		t.Error("the queue was opened")
	}
}
