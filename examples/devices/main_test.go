package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func TestDevices(t *testing.T) {
	sink := mailtest.NewSink(t)
	dir := t.TempDir()
	o := options{
		listen: "127.0.0.1:0", network: "127.0.0.1", smartHost: sink.Addr, users: filepath.Join(dir, "devices.htpasswd"),
		senders: map[string][]string{"printer": {"printer@example.com"}},
	}
	o.certificate, o.key, _ = mailtest.Certificate(t, dir)
	mailtest.Htpasswd(t, o.users, "printer", "secret")
	cfg, err := config(memspool.New(nil), o)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Connectors[0].Limits.Tarpit, cfg.Connectors[0].Limits.AuthTarpit = -1, -1 // no waiting here
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)

	// print sends a page as a device does, and returns the dialogue.
	print := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "swaks", append([]string{
			"--server", r.Addrs("devices")[0].String(), "--helo", "printer.example.com", "--timeout", "10",
			"--from", "printer@example.com", "--to", "somebody@example.net", "--header", "Subject: page",
		}, args...)...).CombinedOutput()
		return string(out), err
	}
	device := []string{"--tls-on-connect", "--auth", "LOGIN", "--auth-user", "printer", "--auth-password", "secret"}
	if out, err := print(device...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if m := sink.Next(t); m.From != "printer@example.com" || !strings.Contains(m.Content, "Subject: page") {
		t.Errorf("arrived: %+v", m)
	}
	for name, tt := range map[string]struct {
		args  []string
		reply string
	}{
		"another sender":      {append(device, "--from", "boss@example.com"), "550 5.7.60"},
		"another From field":  {append(device, "--header", "From: boss@example.com"), "550 5.7.60"},
		"wrong password":      {append(device, "--auth-password", "wrong"), "535 5.7.8"},
		"anonymous":           {[]string{"--tls-on-connect"}, "530 5.7"},
		"too many recipients": {append(device, "--to", strings.Repeat("a@example.net,", 10)+"b@example.net"), "452 4.5.3"},
	} {
		// "<~*" is a refusal inside TLS. The message with many recipients goes to the first ten.
		if out, err := print(tt.args...); !strings.Contains(out, "<~* "+tt.reply) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	if out, err := print("--tls", "--timeout", "1"); err == nil || strings.Contains(out, "220 ") {
		t.Errorf("without TLS from the first byte: %v\n%s", err, out)
	}
}
