package main

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
)

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name, config string
		want         []string // fields
	}{
		{"not TOML", "hostname = \n", []string{"line 1"}},
		{"empty", "", []string{"hostname", "spool"}},
		{
			"unknown keys", sample(t) + "passphrase = 1\n[unknown]\nx = 1\n",
			[]string{"dkim[0].passphrase", "unknown"},
		},
		{"kinds", `
hostname = 7
spool = ["spool"]
tls = "yes"
retry = { schedule = "1m", expires = 2 }
drain_timeout = 1.5
max_deliveries = "many"
senders = { "a@example.test" = [1] }
dkim = [1]
connector = { name = "x" }
send_connector = 2024-01-01
`, []string{
			"connector", "dkim[0]", "drain_timeout", "hostname", "max_deliveries", "retry.expires",
			"retry.schedule",
			"send_connector", `senders."a@example.test"[0]`, "spool", "tls", "users",
		}},
		{"everything", `
hostname = "two words"
users = "missing"
postmaster = "nobody"
spool = "spool"
stream_header = "X Stream"
[tls]
certificate = "missing.pem"
key = "empty.pem"
[[connector]]
name = "apps"
usage = "Sometimes"
bindings = ["127.0.0.1:2525", "localhost:25"]
remote_ip_ranges = ["127.0.0.1", "127.0.1.0/40", "127.0.2.9-127.0.2.1"]
permission_groups = ["AnonymousUsers", "Everybody"]
auth_mechanisms = ["Kerberos"]
grants = [{ principal = "somebody", rights = ["ms-Exch-SMTP-Submit", "ms-Exch-Fly"], allow = true }]
[connector.limits]
tarpit = 5
max_hops = -1
max_recipients = 1.5
speed = 1
[[connector]]
name = "open"
bindings = ["127.0.0.1:2526"]
remote_ip_ranges = ["0.0.0.0/0"]
permission_groups = ["AnonymousUsers"]
grants = [{ principal = "anonymous", rights = ["ms-Exch-SMTP-Accept-Any-Recipient"] }]
[[connector]]
name = "one"
bindings = ["127.0.0.1:2527"]
remote_ip_ranges = ["10.0.0.0-10.0.0.9"]
permission_groups = ["AnonymousUsers"]
[[connector]]
name = "overlaps"
bindings = ["127.0.0.1:2527"]
remote_ip_ranges = ["10.0.0.5-10.0.0.15"]
permission_groups = ["AnonymousUsers"]
[[accepted_domain]]
name = "exa mple.test"
type = "Mine"
recipients = ["alice"]
[[accepted_domain]]
name = "example.test"
[[accepted_domain]]
name = "example.test"
recipients = ["a b"]
[[accepted_domain]]
name = "example.org"
recipients_file = "strangers.txt"
[[accepted_domain]]
name = "example.net"
recipients_file = "missing.txt"
[mailboxes]
deliver = "pigeon:coop"
[[send_connector]]
name = "out"
address_spaces = ["*;1000", "a b"]
smart_hosts = ["127.0.0.1:99999"]
tls = "Maybe"
password_file = "missing.txt"
max_connections = -1
connection_age = "-1s"
idle_timeout = "25h"
source_address = "localhost"
[send_connector.oauth]
provider = "Gmail"
[retry]
mx = ["1ms"]
schedule = ["1m", "soon", "1ms"]
greylisted = "-1m"
expires = "1ns"
[shaping]
keep_going = "no"
site = { connections = -1, rate = { messages = -1, per = "1ms" } }
source = { messages_per_connection = -1 }
stream_site = { messages_per_connection = 1, rate = { per = "1m" } }
[[shaping.providers]]
exchangers = [".example.net"]
limits = { speed = 1 }
[[shaping.streams]]
name = "news"
weight = 101
[[shaping.streams]]
name = "news"
[[dkim]]
domain = "example.test"
selector = "s1"
key = "empty.pem"
[[dkim]]
domain = "example.test"
selector = "s 2"
key = "dkim.pem"
[[dkim]]
domain = "example.test"
selector = "s3"
`, []string{
			"users", "tls.certificate", "hostname", "postmaster",
			"connector[0].usage", "connector[0].bindings[1]", "connector[0].remote_ip_ranges[1]",
			"connector[0].remote_ip_ranges[2]",
			"connector[0].permission_groups[1]", "connector[0].auth_mechanisms[0]",
			"connector[0].grants[0].principal",
			"connector[0].grants[0].rights[1]", "connector[0].grants[0].allow",
			"connector[0].limits.tarpit",
			"connector[0].limits.max_hops", "connector[0].limits.max_recipients",
			"connector[0].limits.speed",
			"accepted_domain[0].name", "accepted_domain[0].type", "accepted_domain[1].recipients",
			"accepted_domain[2].name",
			"accepted_domain[2].recipients[0]", "accepted_domain[3].recipients_file",
			"accepted_domain[4].recipients_file",
			"mailboxes.deliver", "send_connector[0].address_spaces[0]",
			"send_connector[0].address_spaces[1]",
			"send_connector[0].smart_hosts[0]", "send_connector[0].tls",
			"send_connector[0].password_file", "send_connector[0].max_connections",
			"send_connector[0].connection_age", "send_connector[0].idle_timeout",
			"send_connector[0].source_address", "send_connector[0].oauth.provider",
			"retry.mx[0]", "retry.schedule[1]", "retry.schedule[2]", "retry.greylisted",
			"retry.expires", "stream_header", "shaping.keep_going", "shaping.site.connections",
			"shaping.site.rate.messages", "shaping.site.rate.per",
			"shaping.source.messages_per_connection",
			"shaping.stream_site.messages_per_connection", "shaping.stream_site.rate.messages",
			"shaping.providers[0].name", "shaping.providers[0].exchangers[0]",
			"shaping.providers[0].limits.speed", "shaping.streams[0].weight",
			"shaping.streams[1].name", "dkim[0].key",
			"dkim[1].selector", "dkim[2].key",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, found := load(site(t, test.config), newLasting(), slog.New(slog.DiscardHandler))
			var fields []string
			for _, f := range found {
				fields = append(fields, f.field)
				if strings.Contains(f.String(), "\n") {
					t.Errorf("more than a line: %s", f)
				}
			}
			for _, want := range test.want {
				if !slices.Contains(fields, want) {
					t.Errorf("no fault at %s", want)
				}
			}
			t.Log("\n", found)
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample(f))
	f.Add(
		"[[connector]]\nusage = \"Client\"\nlimits = {tarpit = -1, max_hops = 1e9}\ngrants = " +
			"[{rights = \"None\"}]",
	)
	f.Add(
		"senders = {\"a\" = [\"b\"]}\nretry = {schedule = [\"1h\"]}\n[[send_connector]]\n" +
			"address_spaces = [\"*;1\"]",
	)
	f.Fuzz(func(t *testing.T, text string) {
		var found faults
		config, ok := found.decode(text)
		if ok == (config == nil) || !ok && len(found) == 0 {
			t.Errorf("ok %v, config %v, faults %v", ok, config, found)
		}
	})
}
