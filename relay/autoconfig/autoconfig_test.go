package autoconfig_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-mail/postern/domains"
)

const (
	thunderbirdURL = "https://autoconfig.example.com/mail/config-v1.1.xml?emailaddress=alice%40example.com"
	outlookURL     = "https://autodiscover.example.com/autodiscover/autodiscover.xml"
	jsonURL        = "https://autodiscover.example.com/autodiscover/autodiscover.json/v1.0/alice@example.com?Protocol=AutodiscoverV1"
	appleURL       = "https://relay.example.com/email.mobileconfig?email=alice%40example.com"
	stsURL         = "https://mta-sts.example.com/.well-known/mta-sts.txt"
)

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
