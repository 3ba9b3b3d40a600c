package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.toml")
	const config = `
hostname = "relay.example.test"
spool = "spool"
[[connector]]
name = "apps"
bindings = ["127.0.0.1:2525"]
remote_ip_ranges = ["192.0.2.0/24"]
permission_groups = ["AnonymousUsers"]
[[accepted_domain]]
name = "example.test"
recipients = ["alice"]
[mailboxes]
deliver = "maildir:mail"
`
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		question string
		code     int
		want     string
	}{
		{"remote=192.0.2.9 from=a@elsewhere.test to=b@elsewhere.test", 0,
			"550 5.7.54 Unable to relay recipient in non-accepted domain (missing right " +
				"ms-Exch-SMTP-Accept-Any-Recipient)"},
		{
			"remote=192.0.2.9:999 local=127.0.0.1:2525 from=<> to=<alice@example.test>", 0,
			"route      mailbox",
		},
		{"remote=198.51.100.1", 0, "no remote range of it holds 198.51.100.1"},
		{"remote=here", 2, `"remote=here"`},
		{"from=a@example.test", 2, "remote=ADDRESS is missing"},
		{"remote=192.0.2.9 from=nobody", 2, "From:"},
		{"remote=192.0.2.9 colour=blue", 2, "want remote, local"},
	} {
		var out, err strings.Builder
		code := run([]string{"-config", path, "-explain", c.question}, nil, &out, &err)
		if code != c.code || !strings.Contains(out.String()+err.String(), c.want) {
			t.Errorf("%s: exit %d\n%s%s", c.question, code, &out, &err)
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "spool")); err == nil {
		t.Error("explaining has made a spool")
	}
}
