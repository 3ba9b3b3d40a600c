package examples_test

import (
	"crypto/tls"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestReadme compiles the program in the README.
func TestReadme(t *testing.T) {
	mailtest.Programs(t)
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n```go\n")
	program, _, ok := strings.Cut(rest, "\n```\n")
	if !ok {
		t.Fatal("the README has no Go program")
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(program+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"go", "vet", file}, {"gofmt", "-d", file}} {
		if out, err := exec.CommandContext(
			t.Context(), args[0], args[1:]...,
		).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", args[0], err, out)
		}
	}
}

// TestCertificate makes the files as the templates' README tells, and has
// clients verify the certificate.
func TestCertificate(t *testing.T) {
	mailtest.Programs(t)
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(command string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "NO_PROXY=*")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	line := func(begin string) string {
		t.Helper()
		_, rest, ok := strings.Cut(string(text), "\n    "+begin)
		if !ok {
			t.Fatalf("no line of %s", begin)
		}
		rest, _, _ = strings.Cut(rest, "\n")
		return begin + rest
	}
	run(line("openssl"))
	// -i instead of a terminal
	run("printf secret | " + strings.Replace(line("htpasswd"), "-cB", "-ciB", 1))
	certificates, err := relay.LoadCertificates(nil, relay.CertificateFiles{
		Certificate: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
	})
	if err != nil {
		t.Fatal(err)
	}
	users, err := auth.OpenHtpasswd(filepath.Join(dir, "users.htpasswd"), nil)
	if err != nil {
		t.Fatal(err)
	}
	sink := mailtest.NewSink(t)
	submission := connector.Submission("submission")
	submission.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	r, err := relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{submission},
		TLS: &tls.Config{
			GetCertificate: certificates.GetCertificate, MinVersion: tls.VersionTLS12,
		},
		Auth: &auth.Server{Passwords: users},
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{Hosts: []string{sink.Addr}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)
	server := r.Addrs("submission")[0].String()
	localhost := strings.Replace(server, "127.0.0.1", "localhost", 1)
	for _, command := range []string{
		"swaks --server " + localhost +
			" --tls --tls-verify --tls-ca-path cert.pem --auth PLAIN --auth-user " +
			"app@example.com --auth-password secret" +
			" --from app@example.com --to somebody@example.net --timeout 60",
		"swaks --server " + server +
			" --tls --tls-verify --tls-ca-path cert.pem --auth PLAIN --auth-user " +
			"app@example.com --auth-password secret" +
			" --from app@example.com --to somebody@example.net --timeout 60",
		`printf 'Subject: hello\r\n\r\nHello.\r\n' | curl -sS --max-time 60 --ssl-reqd ` +
			`--cacert cert.pem smtp://` + localhost +
			" --user app@example.com:secret --mail-from app@example.com --mail-rcpt " +
			"somebody@example.net --upload-file -",
		`python3 -c '
import smtplib, ssl
host, port = "` + localhost + `".split(":")
with smtplib.SMTP(host, int(port), timeout=60) as s:
    s.starttls(context=ssl.create_default_context(cafile="cert.pem"))
    s.login("app@example.com", "secret")
    s.sendmail("app@example.com", "somebody@example.net", "Subject: hello\n\nHello.\n")
'`,
	} {
		run(command)
		if m := sink.Next(t); m.From != "app@example.com" {
			t.Errorf("%s: arrived: %+v", command, m)
		}
	}
}
