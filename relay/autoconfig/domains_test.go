package autoconfig_test

import (
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/autoconfig"
)

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
