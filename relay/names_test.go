package relay_test

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
)

// TestHostnameInALabels gives names in U-labels, and looks for them in all that
// a client, a next hop and a sender get.
func TestHostnameInALabels(t *testing.T) {
	hop := sinkFor(t, func(line string) string {
		if strings.HasPrefix(line, "RCPT TO:<no@") {
			return "550 5.1.1 nobody"
		}
		return ""
	})
	w := start(t, func(cfg *relay.Config) {
		cfg.Hostname = "Relais.exämple.test"
		cfg.Postmaster = "postmaster@exämple.test"
		cfg.Transport = delivery.SMTP(connector.NextHop{Hosts: []string{hop.addr()}})
	})
	const name, domain = "relais.xn--exmple-cua.test", "xn--exmple-cua.test"
	if got := w.relay.Hostname(); got != name {
		t.Errorf("Hostname %q", got)
	}
	c := w.connect(t, "apps")
	c.Expect("220 " + name + " ")
	c.Say("EHLO client.test")
	if got := c.reply(); !strings.HasPrefix(got, "250-"+name+" ") {
		t.Errorf("reply to EHLO %q", got)
	}
	for _, to := range []string{"yes@elsewhere.test", "no@elsewhere.test"} {
		if err := send(w.addr("apps"), nil, "x@elsewhere.test", to); err != nil {
			t.Fatal(err)
		}
		m := hop.wait(t) // the second one is the report
		if m.hello != name ||
			strings.ContainsFunc(m.content, func(r rune) bool { return r > '~' }) ||
			!strings.Contains(m.content, name+"\r\n") {
			t.Errorf("EHLO %s, then\n%s", m.hello, m.content)
		}
		if m.from == "" && !strings.Contains(m.content, "<postmaster@"+domain+">") {
			t.Errorf("From of the report\n%s", m.content)
		}
	}
}

// TestNamesOnTheWire refuses names that would not stand in a command or a
// header field.
func TestNamesOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		field  string
		change func(*relay.Config)
	}{
		{"Hostname", func(cfg *relay.Config) { cfg.Hostname = "relay example.test" }},
		{"Hostname", func(cfg *relay.Config) { cfg.Hostname = "exämple..test" }},
		{"Hostname", func(cfg *relay.Config) { cfg.Hostname = "[192.0.2.1]" }},
		{"Postmaster", func(cfg *relay.Config) { cfg.Postmaster = "postmästare@example.test" }},
		{"Postmaster", func(cfg *relay.Config) { cfg.Postmaster = "a b" }},
		{"DefaultDomain", func(cfg *relay.Config) { cfg.DefaultDomain = "exämple..test" }},
		{"Connectors[0].FQDN", func(cfg *relay.Config) {
			cfg.Connectors[0].FQDN = "exämple.test"
		}},
		{"Connectors[0].Banner", func(cfg *relay.Config) {
			cfg.Connectors[0].Banner = "220 " +
				"exämple.test"
		}},
		{"SendConnectors[0].FQDN",
			func(cfg *relay.Config) { cfg.SendConnectors[0].FQDN = "exämple.test" }},
		{"SendConnectors[0].Hosts[0]", func(cfg *relay.Config) {
			cfg.SendConnectors[0].Hosts = []string{"exämple.test"}
		}},
		{"SendConnectors[0].TLSDomain", func(cfg *relay.Config) {
			cfg.SendConnectors[0].TLS = connector.TLSDomainValidation
			cfg.SendConnectors[0].TLSDomain = "exämple.test"
		}},
		{"Mailboxes.TLSDomain", func(cfg *relay.Config) {
			cfg.Mailboxes = delivery.SMTP(
				connector.NextHop{Hosts: []string{"a.test"}, TLSDomain: "a b"},
			)
		}},
		{"Mailboxes.RootCAs", func(cfg *relay.Config) {
			cfg.Mailboxes = delivery.SMTP(
				connector.NextHop{Hosts: []string{"a.test"}, RootCAs: x509.NewCertPool()},
			)
		}},
		{"Mailboxes.Hosts[0]", func(cfg *relay.Config) {
			cfg.Mailboxes = delivery.SMTP(connector.NextHop{Hosts: []string{"exämple..test:25"}})
		}},
		{"Mailboxes.Hosts[0]", func(cfg *relay.Config) {
			cfg.Mailboxes = delivery.SMTP(connector.NextHop{Hosts: []string{"a.test\r\nb"}})
		}},
		{"DKIM[0].Domain",
			func(cfg *relay.Config) { cfg.DKIM = []msgauth.Key{{Domain: "exämple.test"}} }},
		{"DKIM[0].Selector", func(cfg *relay.Config) {
			cfg.DKIM = []msgauth.Key{{Domain: "example.test", Selector: "ä"}}
		}},
	} {
		cfg, _ := config()
		cfg.Transport = nil
		cfg.SendConnectors = []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{Hosts: []string{"smart.test"}},
		}}
		if _, err := relay.New(cfg); err != nil {
			t.Fatal(err)
		}
		tt.change(&cfg)
		if _, err := relay.New(cfg); err == nil ||
			!strings.Contains(err.Error(), "\n  "+tt.field+": ") {
			t.Errorf("%s: %v", tt.field, err)
		}
	}
	cfg, _ := config()
	cfg.Mailboxes = delivery.SMTP(connector.NextHop{
		Hosts: []string{"exämple.test", "exämple.test:25", "mail_store:24", "192.0.2.1",
			"[2001:db8::1]:25"},
		TLS: connector.TLSDomainValidation, TLSDomain: "exämple.test",
	})
	if _, err := relay.New(cfg); err != nil {
		t.Error(err)
	}
}

// A recipient whose domain alone is international can go to a host without
// SMTPUTF8, and the trace field of the relay does not stand in the way.
func TestInternationalDomainWithoutSMTPUTF8(t *testing.T) {
	s := sinkFor(t, nil)
	w := outgoing(t, nil, smart("out", "*", s.addr()))
	submit(t, w.relay, "app@b\u00fccher.test", "x@b\u00fccher.test")
	m := s.wait(t)
	if m.from != "app@xn--bcher-kva.test" || fmt.Sprint(m.to) != "[x@xn--bcher-kva.test]" {
		t.Errorf("from %s to %v", m.from, m.to)
	}
	header, _, _ := strings.Cut(m.content, "\r\n\r\n")
	if !strings.Contains(header, "for <x@xn--bcher-kva.test>") {
		t.Errorf("header:\n%s", header)
	}
	// A local part has no other spelling.
	submit(t, w.relay, "app@example.test", "j\u00f6rg@b\u00fccher.test")
	if e := w.events.wait(t, kind(event.Bounced)); e.Enhanced != "5.6.7" {
		t.Errorf("event %+v", e)
	}
}
