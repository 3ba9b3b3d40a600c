package autoconfig_test

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/autoconfig"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func discard() delivery.Transport {
	return delivery.Mailbox(func(context.Context, domains.Address, *delivery.Attempt) error {
		return nil
	})
}

// submission is a connector for users on one port.
func submission(name, binding string, change ...func(*connector.Connector)) *connector.Connector {
	c := connector.Submission(name)
	c.Bindings = []netip.AddrPort{netip.MustParseAddrPort(binding)}
	for _, f := range change {
		f(c)
	}
	return c
}

func implicit(c *connector.Connector) { c.ImplicitTLS = true }

func config(connectors ...*connector.Connector) relay.Config {
	return relay.Config{
		Hostname:   "relay.example.com",
		Spool:      memspool.New(nil),
		Connectors: connectors,
		TLS:        &tls.Config{},
		Verifier:   auth.Static(map[string]string{"alice": "secret"}),
		Transport:  discard(),
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.com", Type: domains.ExternalRelay},
			{Domain: "*.example.org", Type: domains.ExternalRelay},
		},
	}
}

func relayOf(t testing.TB, cfg relay.Config) *relay.Relay {
	t.Helper()
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func usual() []*connector.Connector {
	return []*connector.Connector{
		submission("users", "0.0.0.0:587"), submission("tls", "0.0.0.0:465", implicit),
	}
}

func full() autoconfig.Options {
	return autoconfig.Options{
		DisplayName: "Example & Söhne <Mail>",
		Incoming: []autoconfig.Incoming{
			{Hostname: "imap.example.com"},
			{Protocol: autoconfig.POP3, Hostname: "pop.example.com", StartTLS: true},
		},
		STS: &autoconfig.STS{
			Mode: autoconfig.Enforce, MX: []string{"MX1.example.com", "*.mx.example.net"},
		},
	}
}

func handler(t testing.TB, r *relay.Relay, opts autoconfig.Options) *autoconfig.Handler {
	t.Helper()
	h, err := autoconfig.New(r, &opts)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// request asks over TLS.
func request(h http.Handler, method, url, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, url, strings.NewReader(body)))
	return w
}

func get(t testing.TB, h http.Handler, url string) string {
	t.Helper()
	w := request(h, "GET", url, "")
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", url, w.Code, w.Body)
	}
	return w.Body.String()
}

func ask(email string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(email))
	return `<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
  <Request>
    <EMailAddress>` + b.String() + `</EMailAddress>
    <AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>
  </Request>
</Autodiscover>`
}
