package connector_test

import (
	"encoding"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
)

// textType is a type with a text form.
type textType struct {
	name   string
	decode func(text string) (encoding.TextMarshaler, error)
}

func textTypes() []textType {
	return []textType{
		{"Right", decode[connector.Right]},
		{"PermissionGroup", decode[connector.PermissionGroup]},
		{"AuthMechanism", decode[connector.AuthMechanism]},
		{"Usage", decode[connector.Usage]},
		{"RateSource", decode[connector.RateSource]},
		{"TLSLevel", decode[connector.TLSLevel]},
		{"Principal", decode[connector.Principal]},
		{"Range", decode[connector.Range]},
		{"AddressSpace", decode[connector.AddressSpace]},
	}
}

func decode[T encoding.TextMarshaler, P interface {
	*T
	encoding.TextUnmarshaler
}](text string) (encoding.TextMarshaler, error) {
	var v T
	err := P(&v).UnmarshalText([]byte(text))
	return v, err
}

func TestWords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind, text, want string
	}{
		{"Right", "ms-Exch-SMTP-Submit", ""},
		{"Right", "ms-Exch-SMTP-Accept-Any-Recipient", ""},
		{"Right", "ms-Exch-SMTP-Accept-Any-Sender", ""},
		{"Right", "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender", ""},
		{"Right", "ms-Exch-SMTP-Accept-Authentication-Flag", ""},
		{"Right", "ms-Exch-Accept-Headers-Routing", ""},
		{"Right", "ms-Exch-Accept-Headers-Organization", ""},
		{"Right", "ms-Exch-Accept-Headers-Forest", ""},
		{"Right", "ms-Exch-Bypass-Anti-Spam", ""},
		{"Right", "ms-Exch-Bypass-Message-Size-Limit", ""},
		{"Right", "None", ""},
		{"Right", "", "None"},
		{"Right", "submit", "ms-Exch-SMTP-Submit"},
		{"Right", "ACCEPTANYRECIPIENT", "ms-Exch-SMTP-Accept-Any-Recipient"},
		{"Right", "AcceptAnySender,Submit", "ms-Exch-SMTP-Submit, ms-Exch-SMTP-Accept-Any-Sender"},
		{
			"Right", "AcceptAuthoritativeDomainSender",
			"ms-Exch-SMTP-Accept-Authoritative-Domain-Sender",
		},
		{"Right", "AcceptAuthenticationFlag", "ms-Exch-SMTP-Accept-Authentication-Flag"},
		{"Right", "AcceptHeadersRouting", "ms-Exch-Accept-Headers-Routing"},
		{"Right", "AcceptHeadersOrganization", "ms-Exch-Accept-Headers-Organization"},
		{"Right", "AcceptHeadersForest", "ms-Exch-Accept-Headers-Forest"},
		{
			"Right", "BypassAntiSpam  BypassMessageSizeLimit",
			"ms-Exch-Bypass-Anti-Spam, ms-Exch-Bypass-Message-Size-Limit",
		},
		{"PermissionGroup", "AnonymousUsers", ""},
		{"PermissionGroup", "ExchangeUsers", ""},
		{"PermissionGroup", "ExchangeServers", ""},
		{"PermissionGroup", "ExchangeLegacyServers", ""},
		{"PermissionGroup", "Partners", ""},
		{"PermissionGroup", "None", ""},
		{"PermissionGroup", "AuthenticatedUsers", "ExchangeUsers"},
		{"PermissionGroup", "partner, anonymous", "AnonymousUsers, Partners"},
		{"AuthMechanism", "Tls, BasicAuth, BasicAuthRequireTLS, Integrated", ""},
		{"AuthMechanism", "ExchangeServer", ""},
		{"AuthMechanism", "ExternalAuthoritative", ""},
		{"AuthMechanism", "None", ""},
		{"AuthMechanism", "TLS\tbasicauth", "Tls, BasicAuth"},
		{"Usage", "Client", ""},
		{"Usage", "Custom", ""},
		{"Usage", "Internal", ""},
		{"Usage", "Internet", ""},
		{"Usage", "Partner", ""},
		{"RateSource", "IPAddress", ""},
		{"RateSource", "User", ""},
		{"RateSource", "All", ""},
		{"RateSource", "none", "None"},
		{"TLSLevel", "None", ""},
		{"TLSLevel", "Opportunistic", ""},
		{"TLSLevel", "EncryptionOnly", ""},
		{"TLSLevel", "CertificateValidation", ""},
		{"TLSLevel", " domainvalidation ", "DomainValidation"},
		{"Principal", "anonymous", ""},
		{"Principal", "Authenticated", "authenticated"},
		{"Principal", "Externally-Secured", "externally-secured"},
		{"Principal", "USER:Alice", "user:Alice"},
		{"Principal", "group:ops: night", ""},
		{"Principal", "partner:Example.COM.", "partner:example.com"},
	} {
		t.Run(test.kind+"/"+test.text, func(t *testing.T) {
			t.Parallel()
			if test.want == "" && test.text != "" {
				test.want = test.text
			}
			checkText(t, test.kind, test.text, test.want)
		})
	}
}

// checkText decodes text and expects it to print as want, in every way there
// is.
func checkText(t *testing.T, kind, text, want string) {
	t.Helper()
	for _, tt := range textTypes() {
		if tt.name != kind {
			continue
		}
		v, err := tt.decode(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(v); got != want {
			t.Errorf("%q prints as %q, want %q", text, got, want)
		}
		got, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := json.Marshal(want); string(got) != string(want) {
			t.Errorf("%q marshals as %s, want %s", text, got, want)
		}
		again, err := tt.decode(want)
		if err != nil || again != v {
			t.Errorf("%q is %v, but printed and read again %v (%v)", text, v, again, err)
		}
		return
	}
	t.Fatalf("no type %s", kind)
}

func TestUnknownWords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind, text, want string
	}{
		{"Right", "Relay", `connector: unknown right "Relay"; valid are ms-Exch-SMTP-Submit, ` +
			`ms-Exch-SMTP-Accept-Any-Recipient, ms-Exch-SMTP-Accept-Any-Sender, ` +
			`ms-Exch-SMTP-Accept-Authoritative-Domain-Sender, ` +
			`ms-Exch-SMTP-Accept-Authentication-Flag, ms-Exch-Accept-Headers-Routing, ` +
			`ms-Exch-Accept-Headers-Organization, ms-Exch-Accept-Headers-Forest, ` +
			`ms-Exch-Bypass-Anti-Spam, ms-Exch-Bypass-Message-Size-Limit, None`},
		{"Right", "None, Submit", `connector: None must stand alone, in "None, Submit"`},
		{
			"PermissionGroup", "Custom",
			`connector: unknown permission group "Custom"; valid are AnonymousUsers, ` +
				`ExchangeUsers, ExchangeServers, ExchangeLegacyServers, Partners, None`,
		},
		{
			"AuthMechanism", "Tls; BasicAuth",
			`connector: unknown auth mechanism "Tls;"; valid are Tls, BasicAuth, ` +
				`BasicAuthRequireTLS, Integrated, ExchangeServer, ExternalAuthoritative, None`,
		},
		{"AuthMechanism", "Tls None", `connector: None must stand alone, in "Tls None"`},
		{
			"Usage", "",
			`connector: unknown usage ""; valid are Client, Custom, Internal, Internet, Partner`,
		},
		{
			"RateSource", "IP",
			`connector: unknown rate source "IP"; valid are IPAddress, User, All, None`,
		},
		{
			"TLSLevel", "Required",
			`connector: unknown TLS level "Required"; valid are None, Opportunistic, ` +
				`EncryptionOnly, CertificateValidation, DomainValidation`,
		},
		{"Principal", "", `connector: invalid principal "": empty`},
		{
			"Principal", "alice",
			`connector: invalid principal "alice": valid are anonymous, authenticated, ` +
				`servers, externally-secured, user:NAME, group:NAME, partner:DOMAIN`,
		},
		{
			"Principal", "anonymous:x",
			`connector: invalid principal "anonymous:x": valid are anonymous, authenticated, ` +
				`servers, externally-secured, user:NAME, group:NAME, partner:DOMAIN`,
		},
		{"Principal", "user:", `connector: invalid principal "user:": no name after the colon`},
		{
			"Principal", "user:a\x00b",
			`connector: invalid principal "user:a\x00b": control characters are not allowed`,
		},
		{"Principal", "user:\xff", `connector: invalid principal "user:\xff": not UTF-8`},
		{
			"Principal", "group:" + strings.Repeat("g", 256),
			`connector: invalid principal "group:` + strings.Repeat(
				"g", 256,
			) + `": the name is longer than 255 octets`,
		},
		{
			"Principal", "partner:*.example.com",
			`connector: invalid principal "partner:*.example.com": label "*" has a character ` +
				`other than letters, digits and hyphens`,
		},
	} {
		t.Run(test.kind+"/"+test.text, func(t *testing.T) {
			t.Parallel()
			for _, tt := range textTypes() {
				if tt.name != test.kind {
					continue
				}
				v, err := tt.decode(test.text)
				if err == nil {
					t.Fatalf("read as %v", v)
				}
				if err.Error() != test.want {
					t.Errorf("got  %s\nwant %s", err, test.want)
				}
			}
		})
	}
}

func TestUnnamedValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		value encoding.TextMarshaler
		want  string
	}{
		{connector.Right(1<<15) | connector.Submit, "ms-Exch-SMTP-Submit, 0x8000"},
		{connector.PermissionGroup(1 << 7), "0x80"},
		{connector.AuthMechanism(1<<7) | connector.TLS, "Tls, 0x80"},
		{connector.Usage(9), "Usage(9)"},
		{connector.RateSource(9), "RateSource(9)"},
		{connector.TLSLevel(9), "TLSLevel(9)"},
		{connector.Range{}, "invalid range"},
		{connector.Principal("nobody"), "nobody"},
		{connector.AddressSpace{Domain: "a..b"}, "a..b;1"},
	} {
		if got := fmt.Sprint(test.value); got != test.want {
			t.Errorf("%#v prints as %q, want %q", test.value, got, test.want)
		}
		if text, err := test.value.MarshalText(); err == nil {
			t.Errorf("%#v marshals as %q", test.value, text)
		}
	}
}

// FuzzWords reads any text as every type: what is read must print, and the
// print must read as the same value.
func FuzzWords(f *testing.F) {
	for _, s := range []string{
		"AcceptAnyRecipient", "ms-Exch-SMTP-Submit, None", "AnonymousUsers Partners",
		"Tls,BasicAuth", "Client", "IPAddress",
		"DomainValidation", "user:alice", "partner:example.com", "192.0.2.1/24", "*.example.com;5",
		"", ",", "SMTP:*;1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, tt := range textTypes() {
			v, err := tt.decode(text)
			if err != nil {
				continue
			}
			out, err := v.MarshalText()
			if err != nil {
				t.Fatalf("%s %q does not print: %v", tt.name, text, err)
			}
			again, err := tt.decode(string(out))
			if err != nil {
				t.Fatalf("%s %q prints as %q: %v", tt.name, text, out, err)
			}
			if fmt.Sprint(again) != fmt.Sprint(v) {
				t.Fatalf("%s %q is %v, printed and read again %v", tt.name, text, v, again)
			}
		}
	})
}
