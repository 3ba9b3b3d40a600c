package autoconfig_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern"
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

const (
	thunderbirdURL = "https://autoconfig.example.com/mail/config-v1.1.xml?emailaddress=alice%40example.com"
	outlookURL     = "https://autodiscover.example.com/autodiscover/autodiscover.xml"
	jsonURL        = "https://autodiscover.example.com/autodiscover/autodiscover.json/v1.0/alice@example.com?Protocol=AutodiscoverV1"
	appleURL       = "https://relay.example.com/email.mobileconfig?email=alice%40example.com"
	stsURL         = "https://mta-sts.example.com/.well-known/mta-sts.txt"
)

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

func TestThunderbird(t *testing.T) {
	h := handler(t, relayOf(t, config(usual()...)), full())
	answer := get(t, h, thunderbirdURL)
	want := `<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1">
  <emailProvider id="example.com">
    <domain>example.com</domain>
    <displayName>Example &amp; Söhne &lt;Mail&gt;</displayName>
    <displayShortName>Example &amp; Söhne &lt;Mail&gt;</displayShortName>
    <incomingServer type="imap">
      <hostname>imap.example.com</hostname>
      <port>993</port>
      <socketType>SSL</socketType>
      <username>%EMAILADDRESS%</username>
      <authentication>password-cleartext</authentication>
    </incomingServer>
    <incomingServer type="pop3">
      <hostname>pop.example.com</hostname>
      <port>110</port>
      <socketType>STARTTLS</socketType>
      <username>%EMAILADDRESS%</username>
      <authentication>password-cleartext</authentication>
    </incomingServer>
    <outgoingServer type="smtp">
      <hostname>relay.example.com</hostname>
      <port>465</port>
      <socketType>SSL</socketType>
      <username>%EMAILADDRESS%</username>
      <authentication>password-cleartext</authentication>
    </outgoingServer>
    <outgoingServer type="smtp">
      <hostname>relay.example.com</hostname>
      <port>587</port>
      <socketType>STARTTLS</socketType>
      <username>%EMAILADDRESS%</username>
      <authentication>password-cleartext</authentication>
    </outgoingServer>
  </emailProvider>
</clientConfig>
`
	if answer != want {
		t.Errorf("answer:\n%s\nwant:\n%s", answer, want)
	}
	for _, url := range []string{
		"https://example.com/.well-known/autoconfig/mail/config-v1.1.xml",
		"https://autoconfig.EXAMPLE.com:8443/mail/config-v1.1.xml",
		"https://elsewhere.example/Mail/Config-v1.1.xml?EmailAddress=nobody@Example.COM",
	} {
		if got := get(t, h, url); got != want {
			t.Errorf("%s: %s", url, got)
		}
	}
	// With a wildcard, autoconfig.example.org is a domain itself, but the one
	// above it is meant.
	if got := get(
		t, h, "https://autoconfig.example.org/mail/config-v1.1.xml",
	); !strings.Contains(got, "<domain>example.org</domain>") {
		t.Errorf("host autoconfig.example.org: %s", got)
	}
}

func TestOutlook(t *testing.T) {
	h := handler(t, relayOf(t, config(usual()...)), full())
	w := request(
		h, "POST", "https://example.com/Autodiscover/AutoDiscover.xml", ask("alice@example.com"),
	)
	if w.Code != 200 {
		t.Fatal(w.Code)
	}
	var answer struct {
		XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
		Response struct {
			XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a Response"`
			Protocol []struct {
				Type, Server, LoginName, SPA, SSL, Encryption, AuthRequired string
				Port                                                        int
			} `xml:"Account>Protocol"`
		}
	}
	if err := xml.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range answer.Response.Protocol {
		if p.LoginName != "alice@example.com" || p.SPA != "off" || p.SSL != "on" ||
			p.AuthRequired != "on" {
			t.Errorf("%+v", p)
		}
		got = append(got, strings.Join([]string{p.Type, p.Server, p.Encryption}, " "))
	}
	want := []string{
		"IMAP imap.example.com SSL", "POP3 pop.example.com TLS", "SMTP relay.example.com SSL",
		"SMTP relay.example.com TLS",
	}
	if !slices.Equal(got, want) {
		t.Errorf("protocols %q", got)
	}
}

// TestOutlookErrors are answers with status 200, since clients take others for
// the lack of Autodiscover.
func TestOutlookErrors(t *testing.T) {
	h := handler(t, relayOf(t, config(usual()...)), full())
	for name, c := range map[string]struct {
		body string
		code string
	}{
		"unknown domain":  {ask("alice@example.net"), "500"},
		"address literal": {ask("alice@[192.0.2.1]"), "500"},
		"no address":      {ask(""), "600"},
		"bad address":     {ask("alice"), "600"},
		"two addresses": {
			strings.Replace(
				ask("a@example.com"), "</EMailAddress>",
				"</EMailAddress><EMailAddress>b@example.com</EMailAddress>", 1,
			),
			"600",
		},
		"nothing":   {"", "600"},
		"no XML":    {"alice@example.com", "600"},
		"cut off":   {ask("alice@example.com")[:300], "600"},
		"two roots": {ask("a@example.com") + "<Autodiscover/>", "601"},
		"document type": {
			strings.Replace(
				ask("a@example.com"), "<Autodiscover",
				`<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><Autodiscover`, 1,
			),
			"600",
		},
		"entity": {strings.Replace(ask("EE"), "EE", "&e;@example.com", 1), "600"},
		"deep": {
			strings.Replace(
				ask("a@example.com"), "<Request>",
				strings.Repeat("<a>", 100)+strings.Repeat("</a>", 100)+"<Request>", 1,
			),
			"600",
		},
		"too long":       {ask("a@example.com") + strings.Repeat(" ", 1<<20), "600"},
		"element within": {strings.Replace(ask("a@example.com"), "a@", "<b>x</b>a@", 1), "600"},
		"ActiveSync": {
			strings.ReplaceAll(
				ask("a@example.com"), "outlook/responseschema/2006a",
				"mobilesync/responseschema/2006",
			),
			"601",
		},
		"foreign request": {
			strings.ReplaceAll(
				ask("a@example.com"), "outlook/requestschema/2006", "mobilesync/requestschema/2006",
			),
			"601",
		},
		"foreign encoding": {strings.Replace(ask("a@example.com"), "utf-8", "utf-16", 1), "600"},
	} {
		t.Run(name, func(t *testing.T) {
			w := request(h, "POST", outlookURL, c.body)
			if w.Code != 200 ||
				!strings.Contains(w.Body.String(), "<ErrorCode>"+c.code+"</ErrorCode>") {
				t.Errorf("%d %s, want code %s", w.Code, w.Body, c.code)
			}
			validate(t, "autodiscover.rng", w.Body.String())
		})
	}
}

func TestOutlookJSON(t *testing.T) {
	h := handler(t, relayOf(t, config(usual()...)), full())
	for _, c := range []struct {
		url    string
		status int
		want   map[string]string
	}{
		{
			jsonURL, 200,
			map[string]string{
				"Protocol": "AutodiscoverV1",
				"Url":      "https://relay.example.com/autodiscover/autodiscover.xml",
			},
		},
		{"https://evil.example/AutoDiscover/AutoDiscover.json?Email=bob@example.com&protocol=autodiscoverv1", 200,
			map[string]string{
				"Protocol": "AutodiscoverV1",
				"Url":      "https://relay.example.com/autodiscover/autodiscover.xml",
			}},
		{"https://a.example/autodiscover/autodiscover.json/v1.0/alice@example.com?Protocol=ActiveSync", 400,
			map[string]string{"ErrorCode": "InvalidProtocol"}},
		{"https://a.example/autodiscover/autodiscover.json/v1.0/alice@example.com", 400,
			map[string]string{"ErrorCode": "MandatoryParameterMissing"}},
		{"https://a.example/autodiscover/autodiscover.json/v1.0/alice?Protocol=AutodiscoverV1", 400,
			map[string]string{"ErrorCode": "MandatoryParameterMissing"}},
		{
			"https://a.example/autodiscover/autodiscover.json", 400,
			map[string]string{"ErrorCode": "MandatoryParameterMissing"},
		},
		{"https://a.example/autodiscover/autodiscover.json/v1.0/alice@example.net?Protocol=AutodiscoverV1", 404,
			map[string]string{"ErrorCode": "UserNotFound"}},
	} {
		w := request(h, "GET", c.url, "")
		var got map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v", c.url, err)
		}
		delete(got, "ErrorMessage")
		if w.Code != c.status || len(got) != len(c.want) {
			t.Errorf("%s: %d %v, want %d %v", c.url, w.Code, got, c.status, c.want)
		}
		for k, v := range c.want {
			if got[k] != v {
				t.Errorf("%s: %v, want %v", c.url, got, c.want)
			}
		}
	}
}

func TestProfileIsStable(t *testing.T) {
	h := handler(t, relayOf(t, config(usual()...)), full())
	w := request(h, "GET", appleURL, "")
	if ct := w.Header().Get("Content-Type"); ct != "application/x-apple-aspen-config" {
		t.Errorf("type %s", ct)
	}
	if again := get(t, h, appleURL); again != w.Body.String() {
		t.Error("a second profile differs, so it would not replace the first")
	}
	other := get(t, h, strings.Replace(appleURL, "alice", "bob", 1))
	ids := regexp.MustCompile(`[0-9A-F]{8}-[0-9A-F]{4}-5[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}`)
	mine := ids.FindAllString(w.Body.String(), -1)
	if len(mine) != 4 {
		t.Fatalf("ids %q", mine)
	}
	for _, id := range mine {
		if strings.Contains(other, id) {
			t.Errorf(
				"%s is in the profile of another address as well, which would replace this one", id,
			)
		}
	}
	// RFC 9562 appendix A.4.
	if got := autoconfig.UUID5("www.example.com"); got != "2ED6657D-E927-568B-95E1-2665A8AEA6A2" {
		t.Errorf("UUID %s", got)
	}
}

// TestWithoutIncoming: mail programs reject Thunderbird's and Apple's format
// without a server to read from.
func TestWithoutIncoming(t *testing.T) {
	for name, opts := range map[string]autoconfig.Options{
		"none": {},
		"certificates": {
			Incoming: []autoconfig.Incoming{
				{Hostname: "imap.example.com", Mechanisms: []auth.Mechanism{auth.External}},
			},
		},
	} {
		h := handler(t, relayOf(t, config(usual()...)), opts)
		for _, url := range []string{thunderbirdURL, appleURL} {
			if w := request(h, "GET", url, ""); w.Code != 404 {
				t.Errorf("%s: %s: %d %s", name, url, w.Code, w.Body)
			}
		}
		for _, r := range h.Records("example.com") {
			if strings.HasPrefix(r.Name, "autoconfig.") {
				t.Errorf("%s: record %s", name, r)
			}
		}
	}
}

func TestLocalPart(t *testing.T) {
	opts := full()
	opts.LocalPart = true
	h := handler(t, relayOf(t, config(usual()...)), opts)
	if got := get(t, h, thunderbirdURL); strings.Count(
		got, "<username>%EMAILLOCALPART%</username>",
	) != 4 {
		t.Error(got)
	}
	if got := request(
		h, "POST", outlookURL, ask("alice@example.com"),
	).Body.String(); strings.Count(got, "<LoginName>alice</LoginName>") != 4 {
		t.Error(got)
	}
	if got := get(t, h, appleURL); strings.Count(got, "<string>alice</string>") != 2 {
		t.Error(got)
	}
}

// TestTLSOnly sends every request in the clear.
func TestTLSOnly(t *testing.T) {
	h := handler(t, relayOf(t, config(usual()...)), full())
	try := func(h http.Handler, remote, proto, url string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", strings.Replace(url, "https:", "http:", 1), nil)
		r.RemoteAddr = remote
		if proto != "" {
			r.Header.Set("X-Forwarded-Proto", proto)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for _, url := range []string{
		thunderbirdURL, outlookURL, jsonURL, appleURL, stsURL, "https://example.com/",
	} {
		w := try(h, "192.0.2.1:1234", "https", url)
		if w.Code != 403 || w.Header().Get("Location") != "" {
			t.Errorf("%s: %d", url, w.Code)
		}
	}
	for _, c := range []struct {
		remote, proto string
		status        int
	}{
		{"127.0.0.1:1", "", 200},
		{"[::1]:1", "", 200},
		{"[::ffff:127.0.0.1]:1", "https", 200},
		{"127.0.0.1:1", "http", 403},
		{"@", "", 403},
	} {
		if w := try(h, c.remote, c.proto, thunderbirdURL); w.Code != c.status {
			t.Errorf("%s %q: %d, want %d", c.remote, c.proto, w.Code, c.status)
		}
	}
	opts := full()
	opts.Secure = func(r *http.Request) bool { return r.Header.Get("X-Forwarded-Proto") == "https" }
	if w := try(
		handler(t, relayOf(t, config(usual()...)), opts), "192.0.2.1:1", "https", thunderbirdURL,
	); w.Code != 200 {
		t.Errorf("own Secure: %d", w.Code)
	}
}

// TestOverTLS has a real client on a real TLS connection.
func TestOverTLS(t *testing.T) {
	s := httptest.NewTLSServer(handler(t, relayOf(t, config(usual()...)), full()))
	defer s.Close()
	res, err := s.Client().Get(s.URL + "/mail/config-v1.1.xml?emailaddress=alice@example.com")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 ||
		!bytes.Contains(b, []byte("<clientConfig")) {
		t.Errorf("%d %s %v", res.StatusCode, b, err)
	}
}

func TestRefusals(t *testing.T) {
	h := handler(t, relayOf(t, config(usual()...)), full())
	for _, c := range []struct {
		method, url string
		status      int
	}{
		{"POST", thunderbirdURL, 405},
		{"GET", outlookURL, 405},
		{"POST", jsonURL, 405},
		{"DELETE", appleURL, 405},
		{"HEAD", appleURL, 200},
		{"GET", "https://example.com/", 404},
		{"GET", "https://example.com/autodiscover/autodiscover.json/v1.0/", 404},
		{"GET", "https://autoconfig.example.net/mail/config-v1.1.xml", 404},
		{
			"GET", "https://autoconfig.example.net/mail/config-v1.1.xml?emailaddress=a@example.net",
			404,
		},
		{"GET", "https://example.com/mail/config-v1.1.xml?emailaddress=a@example.com%00", 400},
		{"GET", "https://example.com/mail/config-v1.1.xml?emailaddress=%3Cscript%3E", 400},
		{"GET", "https://example.com/email.mobileconfig", 400},
		{"GET", "https://example.com/email.mobileconfig?email=a@example.net", 404},
		{"GET", "https://example.com/.well-known/mta-sts.txt", 404},
		{"GET", "https://mta-sts.example.net/.well-known/mta-sts.txt", 404},
		{"GET", "https://mta-sts.192.0.2.1/.well-known/mta-sts.txt", 404},
	} {
		w := request(h, c.method, c.url, "")
		if w.Code != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.url, w.Code, w.Body, c.status)
		}
		if strings.Contains(w.Body.String(), "<script") {
			t.Errorf("%s %s echoes what it was sent: %s", c.method, c.url, w.Body)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" ||
			w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: header %v", c.method, c.url, w.Header())
		}
	}
}

// TestUsersAreNotRevealed compares the answers for a user who exists and one
// who does not.
func TestUsersAreNotRevealed(t *testing.T) {
	cfg := config(usual()...)
	cfg.AcceptedDomains = []domains.AcceptedDomain{
		{Domain: "example.com", Recipients: domains.StaticRecipients("alice")},
	}
	cfg.Mailboxes = discard()
	h := handler(t, relayOf(t, cfg), full())
	ids := regexp.MustCompile(`[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}`)
	for _, url := range []string{thunderbirdURL, jsonURL, appleURL} {
		known, unknown := get(t, h, url), get(t, h, strings.Replace(url, "alice", "mallory", 1))
		if ids.ReplaceAllString(
			strings.ReplaceAll(known, "alice", "mallory"), "",
		) != ids.ReplaceAllString(unknown, "") {
			t.Errorf("%s:\n%s\n%s", url, known, unknown)
		}
	}
	known, unknown := request(h, "POST", outlookURL, ask("alice@example.com")), request(
		h, "POST", outlookURL, ask("mallory@example.com"),
	)
	if strings.ReplaceAll(known.Body.String(), "alice", "mallory") != unknown.Body.String() {
		t.Errorf("Outlook:\n%s\n%s", known.Body, unknown.Body)
	}
}

// records returns the SRV records for sending, as "service port host".
func records(h *autoconfig.Handler) []string {
	var list []string
	for _, r := range h.Records("example.com") {
		if name, ok := strings.CutPrefix(r.Name, "_submission"); ok {
			f := strings.Fields(r.Data)
			list = append(
				list, strings.TrimSuffix("submission"+name, "._tcp.example.com.")+" "+f[2]+" "+f[3],
			)
		}
	}
	return list
}

func TestWhichConnectorsArePublished(t *testing.T) {
	plain := func(c *connector.Connector) {
		c.AuthMechanisms = connector.BasicAuth
	}
	for name, c := range map[string]struct {
		connectors []*connector.Connector
		opts       autoconfig.Options
		change     func(*relay.Config)
		want       []string
	}{
		"implicit TLS first": {
			connectors: usual(),
			want: []string{
				"submissions 465 relay.example.com.", "submission 587 relay.example.com.",
			},
		},
		"plain text never": {
			connectors: []*connector.Connector{submission("a", "0.0.0.0:587", plain)},
		},
		"no certificate": {
			connectors: []*connector.Connector{submission("a", "0.0.0.0:587", func(
				c *connector.Connector,
			) {
				c.AuthMechanisms = connector.BasicAuth | connector.TLS
			})},
			change: func(cfg *relay.Config) { cfg.TLS = nil },
		},
		"disabled": {connectors: []*connector.Connector{submission(
			"a", "0.0.0.0:587", func(c *connector.Connector) { c.Disabled = true },
		)}},
		"no STARTTLS": {connectors: []*connector.Connector{submission("a", "0.0.0.0:587", func(
			c *connector.Connector,
		) {
			c.AuthMechanisms, c.SuppressedKeywords = connector.BasicAuth|connector.TLS,
				[]string{"starttls"}
		})}},
		"no AUTH": {connectors: []*connector.Connector{submission(
			"a", "0.0.0.0:587",
			func(c *connector.Connector) { c.SuppressedKeywords = []string{"AUTH"} },
		)}},
		"users may not": {connectors: []*connector.Connector{submission(
			"a", "0.0.0.0:587", func(c *connector.Connector) { c.PermissionGroups = 0 },
		)}},
		"mail from others": {connectors: []*connector.Connector{connector.FromInternet("mx")}},
		"loopback and 25": {
			connectors: []*connector.Connector{
				submission("a", "127.0.0.1:587"), submission("b", "[::1]:587"),
				submission("c", "0.0.0.0:25"),
			},
		},
		"named": {
			connectors: []*connector.Connector{
				submission("a", "127.0.0.1:587"), submission("b", "0.0.0.0:587"),
				submission("c", "0.0.0.0:25"),
			},
			opts: autoconfig.Options{Connectors: []string{"A", "c"}},
			want: []string{"submission 587 relay.example.com.", "submission 25 relay.example.com."},
		},
		"two families once": {
			connectors: []*connector.Connector{connector.Submission("a")},
			want:       []string{"submission 587 relay.example.com."},
		},
		"mapped ports": {
			connectors: []*connector.Connector{
				submission("a", "0.0.0.0:2587"), submission("b", "0.0.0.0:2465", implicit),
			},
			opts: autoconfig.Options{Ports: map[uint16]uint16{2587: 587, 2465: 465}},
			want: []string{
				"submissions 465 relay.example.com.", "submission 587 relay.example.com.",
			},
		},
		"names": {
			connectors: []*connector.Connector{submission(
				"a", "0.0.0.0:587", func(c *connector.Connector) { c.FQDN = "Smtp.example.com" },
			), submission("b", "0.0.0.0:465", implicit)},
			want: []string{
				"submissions 465 relay.example.com.", "submission 587 smtp.example.com.",
			},
		},
		"one name": {
			connectors: usual(),
			opts:       autoconfig.Options{Hostname: "Mail.Example.com"},
			want: []string{
				"submissions 465 mail.example.com.", "submission 587 mail.example.com.",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(c.connectors...)
			if c.change != nil {
				c.change(&cfg)
			}
			c.opts.Incoming = full().Incoming
			h := handler(t, relayOf(t, cfg), c.opts)
			if got := records(h); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			if w := request(h, "GET", thunderbirdURL, ""); (w.Code == 200) != (len(c.want) > 0) {
				t.Errorf("Thunderbird: %d", w.Code)
			}
			if w := request(
				h, "POST", outlookURL, ask("a@example.com"),
			); strings.Contains(w.Body.String(), "<ErrorCode>500<") != (len(c.want) == 0) {
				t.Errorf("Outlook: %s", w.Body)
			}
			if w := request(h, "GET", jsonURL, ""); (w.Code == 200) != (len(c.want) > 0) {
				t.Errorf("JSON: %d", w.Code)
			}
		})
	}
}

// TestWaysToLogOn publishes what the relay's users log on by, in the formats
// that have words for it.
func TestWaysToLogOn(t *testing.T) {
	nobody := auth.VerifierFunc(func(context.Context, auth.Proof) (*auth.Identity, error) {
		return nil, auth.ErrBadCredentials
	})
	keys := auth.SCRAMStoreFunc(func(
		context.Context, auth.Proof,
	) (string, *auth.Identity, error) {
		return "", nil, auth.ErrBadCredentials
	})
	for name, c := range map[string]struct {
		auth      *auth.Server
		want      string // of Thunderbird; "" for no settings
		passwords bool   // for Outlook and Apple
	}{
		"passwords":    {&auth.Server{Passwords: nobody}, "password-cleartext", true},
		"tokens":       {&auth.Server{Tokens: nobody}, "OAuth2", false},
		"SCRAM":        {&auth.Server{SCRAM: keys}, "", false},
		"certificates": {&auth.Server{Certificates: nobody}, "", false},
		"tokens or passwords": {
			&auth.Server{Tokens: nobody, Passwords: nobody}, "password-cleartext OAuth2", true,
		},
		"all": {
			&auth.Server{Tokens: nobody, Passwords: nobody, SCRAM: keys, Certificates: nobody},
			"password-cleartext OAuth2", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(usual()...)
			cfg.Verifier, cfg.Auth, cfg.TLS = nil, c.auth, &tls.Config{
				ClientCAs: x509.NewCertPool(),
			}
			h := handler(t, relayOf(t, cfg), full())
			if c.want == "" {
				if w := request(h, "GET", thunderbirdURL, ""); w.Code != 404 {
					t.Errorf("Thunderbird: %d %s", w.Code, w.Body)
				}
			} else {
				answer := get(t, h, thunderbirdURL)
				validate(t, "clientconfig.rng", answer)
				var file struct {
					Outgoing []struct {
						Authentication []string `xml:"authentication"`
					} `xml:"emailProvider>outgoingServer"`
				}
				if err := xml.Unmarshal([]byte(answer), &file); err != nil ||
					len(file.Outgoing) != 2 {
					t.Fatalf("%v\n%s", err, answer)
				}
				for _, s := range file.Outgoing {
					if got := strings.Join(s.Authentication, " "); got != c.want {
						t.Errorf("Thunderbird: %s, want %s", got, c.want)
					}
				}
			}
			outlook := request(h, "POST", outlookURL, ask("alice@example.com")).Body.String()
			validate(t, "autodiscover.rng", outlook)
			if got := strings.Contains(outlook, "<Type>SMTP</Type>"); got != c.passwords ||
				got == strings.Contains(outlook, "<ErrorCode>500<") {
				t.Errorf("Outlook: %s", outlook)
			}
			for _, url := range []string{jsonURL, appleURL} {
				if w := request(h, "GET", url, ""); (w.Code == 200) != c.passwords ||
					w.Code != 200 && w.Code != 404 {
					t.Errorf("%s: %d %s", url, w.Code, w.Body)
				}
			}
			names := ""
			for _, r := range h.Records("example.com") {
				names += r.Name + " "
			}
			if !strings.Contains(names, "_submissions._tcp.") ||
				strings.Contains(names, "autoconfig.") != (c.want != "") ||
				strings.Contains(names, "_autodiscover.") != c.passwords {
				t.Errorf("records of %s", names)
			}
		})
	}
}

// TestIncomingMechanisms leaves servers that take no passwords out of formats
// that have no other word.
func TestIncomingMechanisms(t *testing.T) {
	opts := full()
	opts.Incoming[0].Mechanisms = []auth.Mechanism{auth.OAuthBearer}
	opts.Incoming = append(opts.Incoming,
		autoconfig.Incoming{
			Hostname: "certificates.example.com", Mechanisms: []auth.Mechanism{auth.External},
		},
		autoconfig.Incoming{
			Hostname: "scram.example.com", Mechanisms: []auth.Mechanism{auth.ScramSHA256},
		})
	h := handler(t, relayOf(t, config(usual()...)), opts)
	answer := get(t, h, thunderbirdURL)
	validate(t, "clientconfig.rng", answer)
	if strings.Count(answer, "<authentication>OAuth2<") != 1 ||
		strings.Count(answer, "<authentication>password-cleartext<") != 3 ||
		strings.Contains(answer, "certificates.") || strings.Contains(answer, "scram.") {
		t.Error(answer)
	}
	for name, answer := range map[string]string{
		"Outlook": request(h, "POST", outlookURL, ask("alice@example.com")).Body.String(),
		"Apple":   get(t, h, appleURL),
	} {
		if strings.Contains(answer, "imap.example.com") ||
			!strings.Contains(answer, "pop.example.com") {
			t.Errorf("%s: %s", name, answer)
		}
	}
}

// TestFollowsTheRelay publishes the port that a running relay got, and what a
// reload changes.
func TestFollowsTheRelay(t *testing.T) {
	users := submission("users", "127.0.0.1:0")
	r := relayOf(t, config(users))
	h := handler(t, r, autoconfig.Options{Connectors: []string{"users"}})
	if got := records(h); got != nil {
		t.Errorf("before it listens: %q", got)
	}
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	want := "submission " + netip.AddrPortFrom(
		netip.IPv4Unspecified(), r.Addrs("users")[0].Port(),
	).String()[len("0.0.0.0:"):] + " relay.example.com."
	if got := records(h); !slices.Equal(got, []string{want}) {
		t.Errorf("%q, want %q", got, want)
	}
	cfg := config(submission("other", "127.0.0.1:0"))
	cfg.AcceptedDomains = cfg.AcceptedDomains[1:]
	if err := r.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if got := h.Records("example.com"); got != nil {
		t.Errorf("after a reload without the domain: %q", got)
	}
}

func TestDomains(t *testing.T) {
	h := handler(
		t, relayOf(t, config(usual()...)),
		autoconfig.Options{Domains: []string{"example.net", "*.example.edu", "bücher.example"}},
	)
	for domain, want := range map[string]bool{
		"example.net": true, "Example.NET": true, "a.example.edu": true, "bücher.example": true,
		"xn--bcher-kva.example": true,
		"example.com":           false, "a.example.net": false, "[192.0.2.1]": false, "": false,
		"a b": false,
	} {
		if got := h.Records(domain) != nil; got != want {
			t.Errorf("%s: %v", domain, got)
		}
	}
}

func TestRecords(t *testing.T) {
	opts := full()
	opts.WebHost = "www.example.com"
	h := handler(t, relayOf(t, config(usual()...)), opts)
	var zone strings.Builder
	for _, r := range h.Records("Example.com") {
		zone.WriteString(r.String() + "\n")
	}
	want := `_submissions._tcp.example.com. IN SRV 0 1 465 relay.example.com.
_submission._tcp.example.com. IN SRV 10 1 587 relay.example.com.
_imaps._tcp.example.com. IN SRV 0 1 993 imap.example.com.
_pop3._tcp.example.com. IN SRV 10 1 110 pop.example.com.
_autodiscover._tcp.example.com. IN SRV 0 1 443 www.example.com.
autoconfig.example.com. IN CNAME www.example.com.
mta-sts.example.com. IN CNAME www.example.com.
_mta-sts.example.com. IN TXT "v=STSv1; id=00000000000000000000000000000000;"
`
	id := regexp.MustCompile(`id=[0-9a-f]{32};`)
	if got := id.ReplaceAllString(zone.String(), ""); got != id.ReplaceAllString(want, "") {
		t.Errorf("records:\n%s", zone.String())
	}
	if testing.Short() {
		return // what follows drives another program
	}
	cmd := exec.Command("ldns-read-zone", "/dev/stdin")
	cmd.Stdin = strings.NewReader(
		"$ORIGIN example.com.\n$TTL 3600\n@ IN SOA ns hostmaster 1 3600 600 86400 300\n@ IN NS " +
			"ns\n" + zone.String(),
	)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "\n") != 10 {
		t.Errorf("ldns-read-zone: %v\n%s", err, out)
	}
}

func TestSTS(t *testing.T) {
	r := relayOf(t, config(usual()...))
	policy := func(s autoconfig.STS) string {
		return get(t, handler(t, r, autoconfig.Options{STS: &s}), stsURL)
	}
	id := func(s autoconfig.STS) string {
		all := handler(t, r, autoconfig.Options{STS: &s}).Records("example.com")
		return all[len(all)-1].Data
	}
	enforce := *full().STS
	if got, want := policy(enforce), "version: STSv1\r\nmode: enforce\r\nmx: "+
		"mx1.example.com\r\nmx: *.mx.example.net\r\nmax_age: 604800\r\n"; got != want {
		t.Errorf("policy %q", got)
	}
	if got := policy(
		autoconfig.STS{Mode: autoconfig.None, MaxAge: 24 * time.Hour},
	); got != "version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n" {
		t.Errorf("policy %q", got)
	}
	if got := policy(
		autoconfig.STS{MX: []string{"mx.example.com"}},
	); !strings.Contains(got, "mode: testing\r\n") {
		t.Errorf("default %q", got)
	}
	other := enforce
	other.Mode = autoconfig.Testing
	if first, again := id(enforce), id(enforce); first != again || first == id(other) {
		t.Errorf("ids %s, %s, %s", first, again, id(other))
	}
	// RFC 8461 section 3.1.
	if !regexp.MustCompile(`^"v=STSv1; id=[A-Za-z0-9]{1,32};"$`).MatchString(id(enforce)) {
		t.Errorf("record %s", id(enforce))
	}
	w := request(
		handler(t, r, full()), "GET", "https://mta-sts.example.com:443/.well-known/mta-sts.txt", "",
	)
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if enforce.MX[0] != "MX1.example.com" {
		t.Error("New changed the options of its caller")
	}
}

func TestFaults(t *testing.T) {
	r := relayOf(t, config(append(usual(), connector.FromInternet("mx"))...))
	_, err := autoconfig.New(r, &autoconfig.Options{
		Domains: []string{"example.com", "*"}, Hostname: "a b", WebHost: "[192.0.2.1]",
		DisplayName: "a\nb", Organization: strings.Repeat("x", 129), Identifier: "com example",
		Connectors: []string{"mx", "none"}, Ports: map[uint16]uint16{587: 0},
		Incoming: []autoconfig.Incoming{
			{},
			{
				Hostname: "imap.example.com", Protocol: "jmap",
				Mechanisms: []auth.Mechanism{"CRAM-MD5"},
			},
		},
		STS: &autoconfig.STS{Mode: "strict", MX: []string{"*"}, MaxAge: 400 * 24 * time.Hour},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"Domains", "Hostname", "WebHost", "DisplayName", "Organization",
		"Identifier", "Connectors[0]", "Connectors[1]",
		"Ports[587]", "Incoming[0].Hostname", "Incoming[1].Protocol", "Incoming[1].Mechanisms[0]",
		"STS.Mode", "STS.MX[0]", "STS.MaxAge"} {
		if !strings.Contains(err.Error(), field+": ") {
			t.Errorf("no fault of %s in:\n%v", field, err)
		}
	}
	if _, ok := errors.AsType[*postern.FieldError](err); !ok {
		t.Error("no FieldError")
	}
	for _, opts := range []autoconfig.Options{
		{STS: &autoconfig.STS{}},
		{STS: &autoconfig.STS{Mode: autoconfig.Enforce, MX: make([]string, 65)}},
		{Domains: []string{"*"}}, {DisplayName: "\xff"},
	} {
		if _, err := autoconfig.New(r, &opts); err == nil {
			t.Errorf("no error for %+v", opts)
		}
	}
	cfg := config(submission("a", "0.0.0.0:587", func(c *connector.Connector) {
		c.AuthMechanisms = connector.BasicAuth | connector.TLS
	}))
	cfg.TLS = nil
	if _, err := autoconfig.New(
		relayOf(t, cfg), &autoconfig.Options{Connectors: []string{"a"}},
	); err == nil {
		t.Error("no error for a connector that is named, on a relay without a certificate")
	}
}

// odd are addresses that a careless answer would break on.
func odd() []string {
	return []string{
		`"<&>'\""@example.com`, `a&b='c'@example.com`, `"]]>"@example.com`, `söhne@example.com`,
		`"a b"@bücher.example.org`, "a/b@example.com",
	}
}

// TestSchemas holds the XML answers against schemas, as xmllint understands
// them.
func TestSchemas(t *testing.T) {
	r := relayOf(t, config(usual()...))
	for name, opts := range map[string]autoconfig.Options{
		"full": full(), "bare": {Incoming: full().Incoming[:1]},
		"local part": {LocalPart: true, Incoming: full().Incoming},
	} {
		t.Run(name, func(t *testing.T) {
			h := handler(t, r, opts)
			validate(t, "clientconfig.rng", get(t, h, thunderbirdURL))
			for _, email := range append(odd(), "alice@example.com") {
				validate(
					t, "autodiscover.rng", request(h, "POST", outlookURL, ask(email)).Body.String(),
				)
			}
		})
	}
}

// validate holds a document against a schema in testdata.
func validate(t *testing.T, schema, document string) {
	t.Helper()
	if testing.Short() {
		return // it takes another program
	}
	cmd := exec.Command(
		"xmllint", "--noout", "--nonet", "--relaxng", filepath.Join("testdata", schema), "-",
	)
	cmd.Stdin = strings.NewReader(document)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("xmllint: %v\n%s\n%s", err, out, document)
	}
}

// TestProfileParses has two readers of property lists, and holds what they find
// against the keys that Apple documents.
func TestProfileParses(t *testing.T) {
	if testing.Short() {
		t.Skip("drives other programs, which -short leaves out")
	}
	h := handler(t, relayOf(t, config(usual()...)), full())
	for _, email := range append(odd(), "alice@example.com") {
		w := httptest.NewRecorder()
		q := httptest.NewRequest("GET", "https://relay.example.com/email.mobileconfig", nil)
		q.URL.RawQuery = "email=" + strings.NewReplacer(
			"&", "%26", "+", "%2B", ";", "%3B",
		).Replace(email)
		h.ServeHTTP(w, q)
		if w.Code != 200 {
			t.Fatalf("%s: %d", email, w.Code)
		}
		file := filepath.Join(t.TempDir(), "email.mobileconfig")
		if err := os.WriteFile(file, w.Body.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(
			"plistutil", "-i", file, "-o", file+".bin", "-f", "bin",
		).CombinedOutput(); err != nil {
			t.Errorf("%s: plistutil: %v\n%s", email, err, out)
		}
		const script = "import json, plistlib, sys\njson.dump(plistlib.load(open(sys.argv[1], " +
			"'rb')), sys.stdout)"
		var first map[string]any
		// as written, and as plistutil understood it
		for _, f := range []string{file, file + ".bin"} {
			out, err := exec.Command("python3", "-c", script, f).Output()
			if err != nil {
				t.Fatalf("%s: plistlib: %v", email, err)
			}
			var got map[string]any
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			checkProfile(t, email, got)
			if first == nil {
				first = got
			} else if a, b := first["PayloadIdentifier"], got["PayloadIdentifier"]; a != b {
				t.Errorf("%v, %v", a, b)
			}
		}
	}
}

// checkProfile knows the keys of https://github.com/apple/device-management:
// mdm/profiles/TopLevel.yaml and com.apple.mail.managed.yaml.
func checkProfile(t *testing.T, email string, p map[string]any) {
	t.Helper()
	str, boolean, number := "", false, 0.0
	check := func(what string, d map[string]any, keys map[string]any) {
		t.Helper()
		for k, kind := range keys {
			v, ok := d[k]
			if !ok {
				t.Errorf("%s: %s lacks %s", email, what, k)
			} else if a, b := jsonKind(v), jsonKind(kind); a != b {
				t.Errorf("%s: %s.%s is a %s, not a %s", email, what, k, a, b)
			}
		}
		for k := range d {
			if _, ok := keys[k]; !ok {
				t.Errorf("%s: %s has %s, which is not documented", email, what, k)
			}
		}
	}
	check("profile", p, map[string]any{
		"PayloadContent": []any{}, "PayloadDescription": str, "PayloadDisplayName": str,
		"PayloadIdentifier": str, "PayloadOrganization": str,
		"PayloadRemovalDisallowed": boolean, "PayloadType": str, "PayloadUUID": str,
		"PayloadVersion": number,
	})
	list, _ := p["PayloadContent"].([]any)
	if len(list) != 1 || p["PayloadType"] != "Configuration" || p["PayloadVersion"] != 1.0 {
		t.Fatalf("%s: %v", email, p)
	}
	account, _ := list[0].(map[string]any)
	check("account", account, map[string]any{
		"EmailAccountDescription": str, "EmailAccountType": str, "EmailAddress": str,
		"IncomingMailServerAuthentication": str, "IncomingMailServerHostName": str,
		"IncomingMailServerPortNumber": number,
		"IncomingMailServerUseSSL":     boolean, "IncomingMailServerUsername": str,
		"OutgoingMailServerAuthentication": str, "OutgoingMailServerHostName": str,
		"OutgoingMailServerPortNumber": number,
		"OutgoingMailServerUseSSL":     boolean, "OutgoingMailServerUsername": str,
		"OutgoingPasswordSameAsIncomingPassword": boolean,
		"PayloadDisplayName":                     str, "PayloadIdentifier": str,
		"PayloadOrganization": str, "PayloadType": str, "PayloadUUID": str,
		"PayloadVersion": number,
	})
	for k, want := range map[string]any{
		"EmailAddress": email, "OutgoingMailServerUsername": email,
		"EmailAccountDescription": "Example & Söhne <Mail>", "EmailAccountType": "EmailTypeIMAP",
		"IncomingMailServerHostName": "imap.example.com", "IncomingMailServerPortNumber": 993.0,
		"IncomingMailServerUseSSL":   true,
		"OutgoingMailServerHostName": "relay.example.com", "OutgoingMailServerPortNumber": 465.0,
		"OutgoingMailServerUseSSL":         true,
		"OutgoingMailServerAuthentication": "EmailAuthPassword",
		"PayloadType":                      "com.apple.mail.managed",
	} {
		if account[k] != want {
			t.Errorf("%s: %s is %v, want %v", email, k, account[k], want)
		}
	}
}

func jsonKind(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		return "number"
	default:
		return "list"
	}
}

func FuzzAutodiscover(f *testing.F) {
	f.Add([]byte(ask("alice@example.com")))
	f.Add([]byte(ask(`"<&>"@example.com`)))
	f.Add(
		[]byte(
			"<Autodiscover xmlns='http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006'><Request/></Autodiscover>",
		),
	)
	f.Add([]byte("<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>"))
	r, err := relay.New(config(usual()...))
	if err != nil {
		f.Fatal(err)
	}
	opts := full()
	h, err := autoconfig.New(r, &opts)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		email, err := autoconfig.ReadRequest(bytes.NewReader(body))
		if err != nil && err != autoconfig.ErrRequest && err != autoconfig.ErrSchema ||
			(err == nil) != (email != "") {
			t.Fatalf("%q %v", email, err)
		}
		if err == nil {
			if again, err := autoconfig.ReadRequest(strings.NewReader(ask(email))); err != nil ||
				again != email {
				t.Fatalf("%q is read back as %q, %v", email, again, err)
			}
		}
		w := request(h, "POST", outlookURL, string(body))
		var answer struct {
			XMLName xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
			Login   []string `xml:"Response>Account>Protocol>LoginName"`
			Code    []int    `xml:"Response>Error>ErrorCode"`
		}
		if err := xml.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
			t.Fatalf("%d %v\n%s", w.Code, err, w.Body)
		}
		if len(answer.Login) == 4 == (len(answer.Code) == 1) {
			t.Fatalf("neither settings nor an error:\n%s", w.Body)
		}
		for _, login := range answer.Login {
			if login != email {
				t.Fatalf("settings for %q, asked for %q", login, email)
			}
		}
	})
}
