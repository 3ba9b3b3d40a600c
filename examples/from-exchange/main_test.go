package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/postern-mail/postern/connector/exchange"
	"github.com/postern-mail/postern/examples/internal/mailtest"
)

const dumps = "../../connector/exchange/testdata"

func flags(dir string) []string {
	return []string{
		"-receive", filepath.Join(dir, "receive.json"), "-accepted",
		filepath.Join(dir, "accepted.json"),
		"-send", filepath.Join(dir, "send.json"), "-permissions",
		filepath.Join(dir, "permissions.json"),
	}
}

// TestGateway lets the gateway check what was made from a dump.
func TestGateway(t *testing.T) {
	gateway := filepath.Join(t.TempDir(), "gateway")
	if out, err := exec.CommandContext(
		t.Context(), "go", "build", "-o", gateway, "../gateway",
	).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, kind := range []string{"remote", "local"} {
		t.Run(kind, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(flags(filepath.Join(dumps, kind)), &stdout, &stderr); code != 0 ||
				stderr.Len() > 0 {
				t.Fatalf("exit %d: %s", code, &stderr)
			}
			dir := t.TempDir()
			mailtest.Certificate(t, dir)
			mailtest.Htpasswd(
				t, filepath.Join(dir, "users.htpasswd"), "alice@contoso.com", "secret",
			)
			mailtest.Write(t, filepath.Join(dir, "recipients.txt"), "alice\n")
			mailtest.Write(t, filepath.Join(dir, "password-2.txt"), "secret\n")
			config := filepath.Join(dir, "gateway.toml")
			mailtest.Write(t, config, stdout.String())
			out, err := exec.CommandContext(
				t.Context(), gateway, "-config", config, "-check",
			).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("%v\n%s\n%s", err, out, &stdout)
			}
			for _, want := range []string{
				`hostname = "EX01.contoso.com"`, `name = "*.sub.contoso.com"`, `tarpit = "0s"`,
				`max_logon_failures = -1`,
				"# receive connector Printers: TransportRole = HubTransport: ",
			} {
				if !strings.Contains(stdout.String(), want) {
					t.Errorf("%q is missing in\n%s", want, &stdout)
				}
			}
		})
	}
}

// TestInjection makes sure that a name in a dump is a value or a comment, and
// nothing else.
func TestInjection(t *testing.T) {
	var out bytes.Buffer
	err := convert(exchange.Dump{SendConnectors: []byte(`{"Name": "a\"\nspool = \"/tmp\"\n#", "AddressSpaces": "SMTP:*;1", "ForceHELO": true,
		"Other\nspool": "x\ny"}`)}, "", &out)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Spool string
		Send  []struct{ Name string } `toml:"send_connector"`
	}
	meta, err := toml.Decode(out.String(), &got)
	if err != nil || got.Spool != "spool" || got.Send[0].Name != "a\"\nspool = \"/tmp\"\n#" ||
		len(meta.Keys()) != 6 {
		t.Errorf("%v %v %v\n%s", err, got, meta.Keys(), &out)
	}
}

func TestFaults(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`[{"Name": "A"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	receive, stranger := filepath.Join(dumps, "remote", "receive.json"), filepath.Join(t.TempDir(),
		"permissions.json")
	mailtest.Write(t, stranger, `{"Identity": "EX01\\Relay", "User": "AUTORITE NT\\ANONYMOUS LOGON",
		"ExtendedRights": "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender", "Deny": true}`)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-receive", receive, "-permissions", stranger}, 1,
			`"AUTORITE NT\\ANONYMOUS LOGON" may be anybody`},
		{[]string{"-receive", receive}, 1, "read the output of Get-ADPermission"},
		{[]string{"-receive", bad}, 1, "ReceiveConnectors[0].AuthMechanism"},
		{[]string{"-receive", bad + "x", "-send", bad + "y"}, 1, "bad.jsony"},
		{[]string{"-other"}, 2, "Usage"},
		{[]string{"-h"}, 0, "Usage"},
		{[]string{bad}, 2, "Usage"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(tt.args, &stdout, &stderr); code != tt.code ||
			!strings.Contains(stderr.String(),
				tt.want) || stdout.Len() > 0 ||
			strings.Count(stderr.String(), "Usage of") > 1 {
			t.Errorf("%q: exit %d, %s%s", tt.args, code, &stderr, &stdout)
		}
	}
}
