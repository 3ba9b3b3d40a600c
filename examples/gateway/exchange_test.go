package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/postern-mail/postern/connector/exchange"
	"github.com/postern-mail/postern/examples/internal/mailtest"
)

const dumps = "../../connector/exchange/testdata"

// TestFromExchange checks what was made from a dump.
func TestFromExchange(t *testing.T) {
	for _, kind := range []string{"remote", "local"} {
		t.Run(kind, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			dump := filepath.Join(dumps, kind)
			if code := run([]string{"-from-exchange", dump}, nil, &stdout, &stderr); code != 0 ||
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
			var out bytes.Buffer
			if code := run([]string{"-config", config, "-check"}, nil, &out, &out); code != 0 ||
				out.Len() > 0 {
				t.Errorf("exit %d\n%s\n%s", code, &out, &stdout)
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

// TestFromExchangeInjection makes sure that a name in a dump is a value or a
// comment, and nothing else.
func TestFromExchangeInjection(t *testing.T) {
	var out bytes.Buffer
	err := convert(exchange.Dump{SendConnectors: []byte(`{"Name": "a\"\nspool = \"/tmp\"\n#",
		"AddressSpaces": "SMTP:*;1", "ForceHELO": true,
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
		len(meta.Keys()) != 5 {
		t.Errorf("%v %v %v\n%s", err, got, meta.Keys(), &out)
	}
}

func TestFromExchangeFaults(t *testing.T) {
	receive, err := os.ReadFile(filepath.Join(dumps, "remote", "receive.json"))
	if err != nil {
		t.Fatal(err)
	}
	dump := func(parts map[string]string) string {
		dir := t.TempDir()
		for name, text := range parts {
			mailtest.Write(t, filepath.Join(dir, name), text)
		}
		return dir
	}
	stranger := `{"Identity": "EX01\\Relay", "User": "AUTORITE NT\\ANONYMOUS LOGON",
		"ExtendedRights": "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender", "Deny": true}`
	for _, tt := range []struct {
		dir  string
		want string
	}{
		{
			dump(map[string]string{"receive.json": string(receive), "permissions.json": stranger}),
			`"AUTORITE NT\\ANONYMOUS LOGON" may be anybody`,
		},
		{
			dump(map[string]string{"receive.json": string(receive)}),
			"read the output of Get-ADPermission",
		},
		{
			dump(map[string]string{"receive.json": `[{"Name": "A"}]`}),
			"ReceiveConnectors[0].AuthMechanism",
		},
		{dump(nil), "none of receive.json"},
		{filepath.Join(dump(nil), "none"), "none of receive.json"},
	} {
		var stdout, stderr bytes.Buffer
		code := run([]string{"-from-exchange", tt.dir}, nil, &stdout, &stderr)
		if code != 1 || !strings.Contains(stderr.String(), tt.want) || stdout.Len() > 0 {
			t.Errorf("exit %d, %s%s", code, &stderr, &stdout)
		}
	}
}
