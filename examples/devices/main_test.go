package main

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func TestDevices(t *testing.T) {
	mailtest.Programs(t)
	sink := mailtest.NewSink(t)
	dir := t.TempDir()
	o := options{
		listen:  netip.MustParseAddrPort("127.0.0.1:0"),
		network: connector.MustParseRange("127.0.0.1"), smartHost: sink.Addr,
		users:   filepath.Join(dir, "devices.htpasswd"),
		senders: make(map[string][]string),
	}
	if err := errors.Join(
		o.addDevice("printer=Printer@example.com"), o.addDevice("scanner=scans@example.com"),
	); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"", "fax", "fax=", "=fax@example.com", "fax=*@example.com", "fax=fax@",
		"printer=other@example.com", "fax@example.com=a@example.com",
	} {
		if err := o.addDevice(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
	o.certificate, o.key, _ = mailtest.Certificate(t, dir)
	mailtest.Htpasswd(t, o.users, "printer", "secret")
	line, err := os.ReadFile(o.users)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Write(
		t, o.users, string(line)+strings.Replace(string(line), "printer:", "boss@example.com:", 1),
	)
	if list, err := o.withoutPassword(); err != nil || !slices.Equal(list, []string{"scanner"}) {
		t.Errorf("without a password: %q, %v", list, err)
	}
	cfg, err := config(o)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Spool = memspool.New(nil)
	cfg.Connectors[0].Limits.Tarpit, cfg.Connectors[0].Limits.AuthTarpit = -1, -1 // no waiting here
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)

	// print sends a page as a device does, and returns the dialogue.
	print := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "swaks", append([]string{
			"--server", r.Addrs("devices")[0].String(), "--helo", "printer.example.com",
			"--timeout", "60",
			"--from", "printer@example.com", "--to", "somebody@example.net", "--header",
			"Subject: page",
		}, args...)...).CombinedOutput()
		return string(out), err
	}
	device := []string{
		"--tls-on-connect", "--auth", "LOGIN", "--auth-user", "printer", "--auth-password",
		"secret",
	}
	if out, err := print(device...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if m := sink.Next(t); m.From != "printer@example.com" ||
		!strings.Contains(m.Content, "Subject: page") {
		t.Errorf("arrived: %+v", m)
	}
	for name, tt := range map[string]struct {
		args  []string
		reply string
	}{
		"another sender":   {append(device, "--from", "boss@example.com"), "550 5.7.60"},
		"another's sender": {append(device, "--from", "scans@example.com"), "550 5.7.60"},
		"no device": {
			append(device, "--auth-user", "boss@example.com", "--from", "boss@example.com"),
			"535 5.7.8",
		},
		"another From field": {append(device, "--header", "From: boss@example.com"), "550 5.7.60"},
		"wrong password":     {append(device, "--auth-password", "wrong"), "535 5.7.8"},
		"anonymous":          {[]string{"--tls-on-connect"}, "530 5.7"},
		"too many recipients": {
			append(device, "--to", strings.Repeat("a@example.net,", 10)+"b@example.net"),
			"452 4.5.3",
		},
	} {
		// "<~*" is a refusal inside TLS. The message with many recipients goes
		// to the first ten.
		if out, err := print(tt.args...); !strings.Contains(out, "<~* "+tt.reply) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	if out, err := print("--tls", "--timeout", "1"); err == nil || strings.Contains(out, "220 ") {
		t.Errorf("without TLS from the first byte: %v\n%s", err, out)
	}
}

// TestFaults are told all at once, before the queue is opened.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	err := run(
		options{certificate: filepath.Join(dir, "cert.pem"), users: filepath.Join(dir, "users")},
		filepath.Join(dir, "spool"),
	)
	for _, want := range []string{"-device: ", "cert.pem: ", "users: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no fault of %q in %v", want, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "spool")); err == nil {
		t.Error("the queue was opened")
	}
}
