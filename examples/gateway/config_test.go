package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
)

// site makes a directory with the files that the sample names, and the
// configuration itself.
func site(t testing.TB, config string) string {
	t.Helper()
	dir := t.TempDir()
	mailtest.Certificate(t, dir)
	mailtest.Htpasswd(t, filepath.Join(dir, "users.htpasswd"), "app@example.test", "secret")
	key, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Write(
		t, filepath.Join(dir, "dkim.pem"),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
	)
	mailtest.Write(t, filepath.Join(dir, "empty.pem"), "")
	mailtest.Write(t, filepath.Join(dir, "people.txt"), "# people\ncarol\n\n dave \n")
	mailtest.Write(t, filepath.Join(dir, "strangers.txt"), "carol\nnot a part\n")
	name := filepath.Join(dir, "gateway.toml")
	mailtest.Write(t, name, config)
	return name
}

func sample(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("testdata/gateway.toml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSample(t *testing.T) {
	name := site(t, sample(t))
	cfg, place, found := load(name, newLasting(), slog.New(slog.DiscardHandler))
	if len(found) > 0 {
		t.Fatal(found)
	}
	if place.String() != filepath.Join(filepath.Dir(name), "spool") {
		t.Errorf("spool %s", place)
	}
	if s := cfg.Shaping; s.Site.Rate.Messages != 600 || s.Site.Rate.Per != time.Minute ||
		len(s.Providers) != 1 || s.Providers[0].Limits.Connections != 5 ||
		len(s.Streams) != 1 || s.Streams[0].Weight != 2 {
		t.Errorf("shaping %+v", s)
	}
	c := cfg.Connectors[0]
	if len(c.RemoteIPRanges) != 3 || c.PermissionGroups != connector.AnonymousUsers ||
		c.AuthMechanisms != connector.TLS ||
		c.Limits.MaxMessageBytes != 37748736 || c.Limits.Tarpit != -1 || c.Limits.AuthTarpit != 0 ||
		c.Grants[0].Rights != connector.AcceptAnyRecipient ||
		c.Grants[0].Principal != connector.Anonymous {
		t.Errorf("connector: %+v", c)
	}
	s := cfg.SendConnectors[0]
	if !slices.Equal(s.Hosts, []string{"127.0.0.1:2602", "127.0.0.1:2603"}) ||
		s.AddressSpaces[0] != (connector.AddressSpace{Domain: "*", Cost: 1}) {
		t.Errorf("send connector: %+v", s)
	}
	if !slices.Equal(
		cfg.Retry.Schedule, []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute},
	) || cfg.Retry.Expires != 48*time.Hour {
		t.Errorf("retry: %+v", cfg.Retry)
	}
	if len(cfg.DKIM) != 1 || !cfg.DKIM[0].Subdomains {
		t.Errorf("DKIM: %+v", cfg.DKIM)
	}
	if cfg.Mailboxes == nil || cfg.TLS == nil || cfg.Auth == nil {
		t.Errorf("config: %+v", cfg)
	}
}

// TestSampleOfFilesForNextHops reads what the sample has in comments, since the
// files may be missing.
func TestSampleOfFilesForNextHops(t *testing.T) {
	shown := strings.NewReplacer("\"Opportunistic\"", "\"CertificateValidation\"",
		"# root_cas = \"ca.pem\"", "root_cas = \"cert.pem\"",
		"# certificates =", "certificates =").Replace(sample(t))
	cfg, _, found := load(site(t, shown), newLasting(), slog.New(slog.DiscardHandler))
	if len(found) > 0 {
		t.Fatal(found)
	}
	if s := cfg.SendConnectors[0]; s.RootCAs == nil || len(s.Certificates) != 1 {
		t.Errorf("send connector: %+v", s)
	}
	if cfg.Pressure.Receiving != 256<<20 {
		t.Errorf("pressure: %+v", cfg.Pressure)
	}
	opportunistic := strings.Replace(shown, "\"CertificateValidation\"", "\"Opportunistic\"", 1)
	_, _, found = load(site(t, opportunistic), newLasting(), slog.New(slog.DiscardHandler))
	if len(found) != 1 || found[0].field != "send_connector[0].root_cas" {
		t.Errorf("a fault has another name than its key: %v", found)
	}
}

// TestVariants reads what the sample does not have.
func TestVariants(t *testing.T) {
	name := site(t, `
hostname = "relay.example.test"
spool = "/var/spool/gateway"
users = "users.htpasswd"
drain_timeout = "5s"
require_encryption = true
complete_addresses = true
[pressure]
queue_high = 1000
disk_medium = -1
[event_log]
retention = "720h"
[tls]
certificate = "cert.pem"
key = "key.pem"
[[connector]]
name = "client"
usage = "Client"
remote_ip_ranges = ["0.0.0.0/0", "::/0"]
bindings = ["127.0.0.1:587", "[::1]:587"]
auth_mechanisms = ["Tls", "BasicAuth", "BasicAuthRequireTLS"]
grants = [
	{ principal = "user:app@example.test", rights = ["ms-Exch-SMTP-Accept-Any-Sender", "ms-Exch-SMTP-Submit"] },
	{ principal = "authenticated", rights = ["ms-Exch-SMTP-Accept-Any-Recipient"], deny = true },
]
limits = { message_rate = -1, max_local_hops = 0, message_rate_by = "User", auth_tarpit = "0s", connection_timeout = "20m" }
[[accepted_domain]]
name = "*.example.test"
type = "InternalRelay"
recipients_file = "people.txt"
skip_lookup = true
[[accepted_domain]]
name = "example.org"
type = "ExternalRelay"
[mailboxes]
deliver = "maildir:mail"
[[send_connector]]
name = "out"
address_spaces = ["*;10", "example.net"]
smart_hosts = ["mail.example.net"]
port = 587
tls = "DomainValidation"
tls_domain = "mail.example.net"
username = "app"
password_file = "people.txt"
`)
	cfg, place, found := load(name, newLasting(), slog.New(slog.DiscardHandler))
	if len(found) > 0 {
		t.Fatal(found)
	}
	c := cfg.Connectors[0]
	if l := c.Limits; l.MessageRate != -1 || l.MaxLocalHops != -1 ||
		l.MessageRateBy != connector.RateByUser || l.AuthTarpit != -1 || l.Tarpit != 0 ||
		l.ConnectionTimeout != 20*time.Minute {
		t.Errorf("limits: %+v", l)
	}
	if c.PermissionGroups != connector.ExchangeUsers || !c.Grants[1].Deny ||
		c.Grants[0].Rights != connector.AcceptAnySender|connector.Submit {
		t.Errorf("connector: %+v", c)
	}
	for local, want := range map[string]bool{"carol": true, "dave": true, "alice": false} {
		known, err := cfg.AcceptedDomains[0].Recipients.Resolve(
			t.Context(), domains.MustParse(local+"@a.example.test"),
		)
		if known != want || err != nil {
			t.Errorf("%s is known: %v, %v", local, known, err)
		}
	}
	if s := cfg.SendConnectors[0]; s.Password != "# people\ncarol\n\n dave " || s.Port != 587 ||
		s.TLS != connector.TLSDomainValidation || s.AddressSpaces[0].Cost != 10 {
		t.Errorf("send connector: %+v", s)
	}
	if d := cfg.AcceptedDomains[0]; !d.SkipLookup || !cfg.RequireEncryption ||
		!cfg.CompleteAddresses || cfg.Pressure.QueueHigh != 1000 || cfg.Pressure.DiskMedium != -1 {
		t.Errorf("%+v, %+v", d, cfg.Pressure)
	}
	if place.String() != "/var/spool/gateway" || cfg.DrainTimeout != 5*time.Second ||
		cfg.EventLog.Retention != 720*time.Hour {
		t.Errorf("spool %s, %+v", place, cfg)
	}
}

// TestClients reads how the gateway knows its clients.
func TestClients(t *testing.T) {
	const common = `
hostname = "relay.example.test"
spool = "spool"
proxies = ["10.9.0.2", "10.9.1.0/24"]
xclient = ["10.9.0.3"]
nat_guard = "refuse"
[tls]
certificate = "cert.pem"
key = "key.pem"
client_cas = "cert.pem"
[[connector]]
name = "peers"
usage = "Internal"
bindings = ["127.0.0.1:2525"]
remote_ip_ranges = ["10.0.0.0/8"]
server_names = ["relay2.example.test"]
[[connector]]
name = "partners"
usage = "Partner"
bindings = ["127.0.0.1:2526"]
remote_ip_ranges = ["0.0.0.0/0"]
[connector.partner_names]
"mail.partner.test" = "partner.test"
`
	cfg, _, found := load(site(t, common), newLasting(), slog.New(slog.DiscardHandler))
	if len(found) > 0 {
		t.Fatal(found)
	}
	if len(cfg.Proxies) != 2 || len(cfg.XClient) != 1 || cfg.NATGuard != relay.NATRefuse ||
		cfg.TLS.ClientCAs == nil {
		t.Errorf("%+v", cfg)
	}
	if !slices.Equal(cfg.Connectors[0].ServerNames, []string{"relay2.example.test"}) ||
		cfg.Connectors[1].PartnerNames["mail.partner.test"] != "partner.test" {
		t.Errorf("%+v, %+v", cfg.Connectors[0], cfg.Connectors[1])
	}
	for _, test := range []struct{ from, to, want string }{
		{`"10.9.0.2"`, `"0.0.0.0/0"`, "proxies"},
		{`["10.9.0.3"]`, `["localhost"]`, "xclient[0]"},
		{`["10.9.0.3"]`, `["0.0.0.0/1"]`, "xclient"},
		{`"refuse"`, `"sometimes"`, "nat_guard"},
		{`client_cas = "cert.pem"`, ``, "tls.client_cas"},
		{`client_cas = "cert.pem"`, `client_cas = "empty.pem"`, "tls.client_cas"},
		{`client_cas = "cert.pem"`, `client_cas = "missing.pem"`, "tls.client_cas"},
		{`"relay2.example.test"`, `"*.example.test"`, "connector[0].server_names[0]"},
		{`"partner.test"`, `"*"`, `connector[1].partner_names["mail.partner.test"]`},
		{`"partner.test"`, `7`, `connector[1].partner_names."mail.partner.test"`},
	} {
		_, _, found := load(
			site(t, strings.Replace(common, test.from, test.to, 1)), newLasting(),
			slog.New(slog.DiscardHandler),
		)
		if len(found) == 0 || found[0].field != test.want {
			t.Errorf("%s: %v, want %s first", test.to, found, test.want)
		}
	}
}

// TestSendCertificates reads whom a send connector trusts and what it shows.
func TestSendCertificates(t *testing.T) {
	const text = `hostname = "relay.example.test"
spool = "spool"
[[send_connector]]
name = "out"
address_spaces = ["*;1"]
smart_hosts = ["mail.example.net"]
allow_private_addresses = true
tls = "DomainValidation"
tls_domain = "mail.example.net"
root_cas = "ROOTS"
certificates = [{ certificate = "cert.pem", key = "KEY" }]
`
	for name, c := range map[string]struct{ roots, key, want string }{
		"good":     {"cert.pem", "key.pem", ""},
		"no roots": {"key.pem", "key.pem", "send_connector[0].root_cas: no certificate in key.pem"},
		"missing":  {"cert.pem", "other.pem", "send_connector[0].certificates[0].key: "},
		"no key":   {"cert.pem", "cert.pem", "send_connector[0].certificates[0]: "},
	} {
		t.Run(name, func(t *testing.T) {
			file := site(t, strings.NewReplacer("ROOTS", c.roots, "KEY", c.key).Replace(text))
			mailtest.Certificate(t, filepath.Dir(file))
			cfg, _, found := load(file, newLasting(), slog.New(slog.DiscardHandler))
			if c.want != "" {
				if len(found) == 0 || !strings.HasPrefix(found[0].String(), c.want) {
					t.Errorf("faults %v, want %s", found, c.want)
				}
				return
			}
			if len(found) > 0 {
				t.Fatal(found)
			}
			out := cfg.SendConnectors[0]
			if out.RootCAs == nil || len(out.Certificates) != 1 || !out.AllowPrivateAddresses {
				t.Errorf("%+v", *out)
			}
		})
	}
}

// TestFilesOfWindows reads files with a byte order mark, and says what is wrong
// with those in UTF-16.
func TestFilesOfWindows(t *testing.T) {
	text := `hostname = "relay.example.test"
spool = "spool"
[[send_connector]]
name = "out"
address_spaces = ["*;1"]
smart_hosts = ["mail.example.net"]
tls = "DomainValidation"
tls_domain = "mail.example.net"
username = "app"
password_file = "password.txt"
`
	for name, c := range map[string]struct{ config, password, want string }{
		"plain":         {text, "secret\r\n", ""},
		"mark":          {"\xef\xbb\xbf" + text, "\xef\xbb\xbfsecret\r\n", ""},
		"wide password": {text, "\xff\xfes\x00e\x00", "send_connector[0].password_file: "},
		"wide config": {
			"\xff\xfe" + strings.Join(strings.Split(text, ""), "\x00"), "secret", "-config: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := site(t, c.config)
			secret := filepath.Join(filepath.Dir(file), "password.txt")
			if err := os.WriteFile(secret, []byte(c.password), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, _, found := load(file, newLasting(), slog.New(slog.DiscardHandler))
			if c.want == "" {
				if len(found) != 0 || cfg.SendConnectors[0].Password != "secret" {
					t.Fatalf("%v, %+v", found, cfg.SendConnectors)
				}
				return
			}
			if len(found) == 0 || !strings.HasPrefix(found[0].String(), c.want) ||
				!strings.Contains(found[0].String(), "UTF-16") {
				t.Fatalf("%v, want %s", found, c.want)
			}
		})
	}
}
