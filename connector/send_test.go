package connector_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	. "github.com/postern-mail/postern/connector"
)

func spaces(list ...string) []AddressSpace {
	var a []AddressSpace
	for _, s := range list {
		space, err := ParseAddressSpace(s)
		if err != nil {
			panic(err)
		}
		a = append(a, space)
	}
	return a
}

func TestParseAddressSpace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text, domain string
		cost         int
	}{
		{"*", "*", 1},
		{"*;1", "*", 1},
		{"*.com", "*.com", 1},
		{"*.contoso.com;100", "*.contoso.com", 100},
		{"contoso.com;5", "contoso.com", 5},
		{"SMTP:Contoso.COM.;5", "contoso.com", 5},
		{" smtp: *.contoso.com ; 7 ", "*.contoso.com", 7},
	} {
		got, err := ParseAddressSpace(test.text)
		if want := (AddressSpace{test.domain, test.cost}); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", test.text, got, err, want)
		}
		checkText(t, "AddressSpace", test.text, fmt.Sprintf("%s;%d", test.domain, test.cost))
	}
	if got := (AddressSpace{Domain: "*"}).String(); got != "*;1" {
		t.Errorf("cost 0 prints as %q", got)
	}
	for text, want := range map[string]string{
		"":                "empty",
		"*contoso.com":    "a * stands alone or before the first dot, as in *.example.com",
		"mail.*.com":      "a * stands alone or before the first dot, as in *.example.com",
		"*.*.com":         "a * stands alone or before the first dot, as in *.example.com",
		"*.":              "a * stands alone or before the first dot, as in *.example.com",
		".":               "empty",
		"--":              `label "--" begins or ends with a hyphen`,
		"[192.0.2.1]":     `label "[192" has a character other than letters, digits and hyphens`,
		"X400:c=us":       `type "X400"; only SMTP is known`,
		"contoso.com;":    `cost "" is not a number from 1 to 100`,
		"contoso.com;0":   `cost "0" is not a number from 1 to 100`,
		"contoso.com;-1":  "cost -1 is out of range; use 1 to 100",
		"contoso.com;101": "cost 101 is out of range; use 1 to 100",
		"contoso.com;1;2": `cost "1;2" is not a number from 1 to 100`,
		"contoso.com;1e1": `cost "1e1" is not a number from 1 to 100`,
		"münchen.example": `label "münchen" is not ASCII; write it in A-labels (xn--…)`,
		"exa mple.com": `label "exa mple" has a character other than letters, digits and ` +
			`hyphens`,
		"*.example.com..":  "empty label: a dot too many",
		"contoso.com;9999": "cost 9999 is out of range; use 1 to 100",
	} {
		if got, err := ParseAddressSpace(text); err == nil ||
			!strings.HasSuffix(err.Error(), ": "+want) || got != (AddressSpace{}) {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
}

func TestSendValidate(t *testing.T) {
	t.Parallel()
	const unverified = "Username: the password would go to whoever answers; " +
		"set TLS to DomainValidation and TLSDomain to the name in the smart host's certificate, " +
		"or set AllowUnverifiedAuth"
	for _, test := range []struct {
		name   string
		change func(*SendConnector)
		want   []string
	}{
		{"nothing wrong", func(*SendConnector) {}, nil},
		{"no name", func(c *SendConnector) {
			c.Name = ""
		}, []string{"Name: missing; give the connector a name of its own"}},
		{"no address space", func(c *SendConnector) {
			c.AddressSpaces = nil
		}, []string{"AddressSpaces: missing; use * for all domains"}},
		{"address spaces", func(c *SendConnector) {
			c.AddressSpaces = []AddressSpace{
				{"a.example", 1}, {"A.example.", 5}, {"*contoso.com", 1}, {"b.example", 101},
				{"*.a.example", 0},
			}
		}, []string{
			`AddressSpaces[1]: "A.example." is listed twice; remove one`,
			`AddressSpaces[2]: "*contoso.com": a * stands alone or before the first dot, as in ` +
				`*.example.com`,
			`AddressSpaces[3]: "b.example": cost 101 is out of range; use 1 to 100`,
		}},
		{"a transport", func(c *SendConnector) { c.Transport = "api" }, nil},
		{"a transport and a next hop", func(c *SendConnector) {
			c.Transport, c.TLS = "api", TLSNone
		}, []string{"Transport: takes the place of a next hop, of which something is set; " +
			"leave one empty"}},
		{"LMTP to exchangers", func(c *SendConnector) { c.LMTP = true },
			[]string{"LMTP: needs smart hosts; mail exchangers do not speak it"}},
		{"smart hosts", func(c *SendConnector) {
			c.Hosts = []string{
				"mail_store:24",
				"mail.example.com", "mail.example.com.", "mail.example.com:587", "localhost:2525",
				"192.0.2.1", "192.0.2.1:25", "[2001:db8::1]", "[2001:db8::1]:25",
				"[192.0.2.1]", "[fe80::1%eth0]:25",
			}
		}, nil},
		{"invalid smart hosts", func(c *SendConnector) {
			c.Hosts = []string{
				"", "2001:db8::1", "[::1", "[::1]25", "[mail]:25", "a:0", "a:65536", "a:smtp", "a:",
				"a b", "300.1.1.1", ":25", "a:25:26",
			}
		}, []string{
			`Hosts[0]: "": empty`,
			`Hosts[1]: "2001:db8::1": write IPv6 in brackets: [2001:db8::1]`,
			`Hosts[2]: "[::1": ] is missing`,
			`Hosts[3]: "[::1]25": only :port may follow the ]`,
			`Hosts[4]: "[mail]:25": "mail" is not an IP address`,
			`Hosts[5]: "a:0": port "0" is not a number from 1 to 65535`,
			`Hosts[6]: "a:65536": port "65536" is not a number from 1 to 65535`,
			`Hosts[7]: "a:smtp": port "smtp" is not a number from 1 to 65535`,
			`Hosts[8]: "a:": port "" is not a number from 1 to 65535`,
			`Hosts[9]: "a b": label "a b" has a character other than letters, digits and hyphens`,
			`Hosts[10]: "300.1.1.1": a domain does not end in digits alone`,
			`Hosts[11]: ":25": empty`,
			`Hosts[12]: "a:25:26": port "25:26" is not a number from 1 to 65535`,
		}},
		{"port", func(c *SendConnector) {
			c.Port = 65536
		}, []string{"Port: 65536 is out of range; use 1 to 65535"}},
		{"TLS level", func(c *SendConnector) { c.TLS = 9 },
			[]string{
				"TLS: 9 is no TLS level; valid are None, Opportunistic, EncryptionOnly, " +
					"CertificateValidation, DomainValidation",
			}},
		{"TLSDomain without DomainValidation", func(c *SendConnector) {
			c.TLSDomain = "mail.example.com"
		},
			[]string{
				"TLSDomain: has no effect with Opportunistic; set TLS to DomainValidation or " +
					"leave TLSDomain empty",
			}},
		{"DomainValidation with smart hosts and no TLSDomain", func(c *SendConnector) {
			c.TLS, c.Hosts = TLSDomainValidation, []string{"mail.example.com"}
		}, []string{
			"TLSDomain: missing; DomainValidation with smart hosts needs the name in their " +
				"certificates",
		}},
		{"DomainValidation with MX", func(c *SendConnector) { c.TLS = TLSDomainValidation }, nil},
		{"DomainValidation", func(c *SendConnector) {
			c.TLS, c.Hosts, c.TLSDomain = TLSDomainValidation, []string{
				"192.0.2.1",
			}, "mail.example.com"
		}, nil},
		{"invalid TLSDomain", func(c *SendConnector) {
			c.TLS, c.TLSDomain = TLSDomainValidation, "*.example.com"
		},
			[]string{
				`TLSDomain: "*.example.com": label "*" has a character other than letters, ` +
					`digits and hyphens`,
			}},
		{"ImplicitTLS without TLS", func(c *SendConnector) {
			c.TLS, c.ImplicitTLS, c.Hosts = TLSNone, true, []string{"a"}
		},
			[]string{"ImplicitTLS: contradicts TLS None; choose another TLS level"}},
		{"ImplicitTLS with MX", func(c *SendConnector) {
			c.ImplicitTLS = true
		}, []string{"ImplicitTLS: needs smart hosts; mail exchangers do not speak it"}},
		{"credentials", func(c *SendConnector) {
			c.Hosts, c.Username, c.Password = []string{"a"}, "u", "p"
			c.TLS, c.TLSDomain = TLSDomainValidation, "a"
		}, nil},
		{"credentials for whoever answers", func(c *SendConnector) {
			c.Hosts, c.Username, c.Password = []string{"a"}, "u", "p"
		}, []string{unverified}},
		{"credentials for whoever encrypts", func(c *SendConnector) {
			c.Hosts, c.Username, c.Password = []string{"a"}, "u", "p"
			c.TLS = TLSEncryptionOnly
		}, []string{unverified}},
		{"credentials for whoever has a certificate", func(c *SendConnector) {
			c.Hosts, c.Username, c.Password = []string{"a"}, "u", "p"
			c.TLS = TLSCertificateValidation
		}, []string{unverified}},
		{"credentials unverified", func(c *SendConnector) {
			c.Hosts, c.Username, c.Password = []string{"a"}, "u", "p"
			c.TLS, c.AllowUnverifiedAuth = TLSEncryptionOnly, true
		}, nil},
		{"credentials unverified without TLS", func(c *SendConnector) {
			c.Hosts, c.Username, c.Password = []string{"a"}, "u", "p"
			c.TLS, c.AllowUnverifiedAuth = TLSNone, true
		}, []string{"Username: needs TLS to be sent; choose another TLS level, or set " +
			"AllowPlaintextAuth on a network that nobody else can read"}},
		{"authorities", func(c *SendConnector) {
			c.RootCAs, c.TLS = x509.NewCertPool(), TLSCertificateValidation
		}, nil},
		{"authorities unasked", func(c *SendConnector) { c.RootCAs = x509.NewCertPool() },
			[]string{"RootCAs: has no effect with Opportunistic; set TLS to DomainValidation"}},
		{"certificate without a key", func(c *SendConnector) {
			c.Certificates = []tls.Certificate{{Certificate: [][]byte{{1}}}}
		}, []string{"Certificates[0]: the certificate or its private key is missing"}},
		{"certificate without TLS", func(c *SendConnector) {
			c.Certificates = []tls.Certificate{{Certificate: [][]byte{{1}}, PrivateKey: 1}}
			c.TLS = TLSNone
		}, []string{"Certificates: has no effect with None; choose another TLS level"}},
		{"credentials without smart host", func(c *SendConnector) {
			c.Username, c.Password = "u", "p"
		},
			[]string{"Username: needs smart hosts; credentials are not for any mail exchanger"}},
		{"credentials without TLS", func(c *SendConnector) {
			c.Hosts, c.TLS, c.Username, c.Password = []string{"a"}, TLSNone, "u", "p"
		}, []string{
			"Username: needs TLS to be sent; choose another TLS level, or set " +
				"AllowPlaintextAuth on a network that nobody else can read",
		}},
		{"credentials in the clear", func(c *SendConnector) {
			c.Hosts, c.TLS, c.Username, c.Password, c.AllowPlaintextAuth = []string{
				"a",
			}, TLSNone, "u", "p", true
		}, nil},
		{"no password", func(c *SendConnector) {
			c.Hosts, c.Username, c.AllowUnverifiedAuth = []string{"a"}, "u", true
		}, []string{"Password: missing; there is a Username"}},
		{"no user name", func(c *SendConnector) {
			c.Hosts, c.Password = []string{"a"}, "p"
		}, []string{
			"Username: missing; there is a Password",
			"Username: the password would go to whoever answers; set TLS to DomainValidation " +
				"and TLSDomain to the name in the smart host's certificate, or set " +
				"AllowUnverifiedAuth",
		}},
		{"FQDN", func(c *SendConnector) {
			c.FQDN = "-"
		}, []string{`FQDN: "-": label "-" begins or ends with a hyphen`}},
		{"negative numbers", func(c *SendConnector) {
			c.Port, c.MaxMessageBytes, c.MaxConnections, c.MessagesPerConnection = -1, -1, -1, -1
		}, []string{
			"Port: -1 is out of range; use 1 to 65535",
			"MaxConnections: -1 is negative; there is always a limit, 20 by default",
			"MaxMessageBytes: -1 is negative; use 0 for no limit",
		}},
		{"times", func(c *SendConnector) {
			c.ConnectionAge, c.IdleTimeout = -time.Second, 25*time.Hour
		}, []string{
			"ConnectionAge: -1s is out of range; use up to 24 hours, or 0 for 5 minutes",
			"IdleTimeout: 25h0m0s is out of range; use up to 24 hours, or 0 for 5 seconds",
		}},
		{"source of any address", func(c *SendConnector) {
			c.SourceAddress = netip.MustParseAddr("0.0.0.0")
		}, []string{"SourceAddress: 0.0.0.0 is no address of a host; leave it out for any"}},
		{"source of many", func(c *SendConnector) {
			c.SourceAddress = netip.MustParseAddr("ff02::1")
		}, []string{"SourceAddress: ff02::1 is a multicast address; use one of this host"}},
		{"source in another form", func(c *SendConnector) {
			c.SourceAddress = netip.MustParseAddr("::ffff:192.0.2.1")
		}, []string{
			"SourceAddress: ::ffff:192.0.2.1 is IPv4 in IPv6; write 192.0.2.1",
		}},
		{"source of the other family", func(c *SendConnector) {
			c.SourceAddress = netip.MustParseAddr("192.0.2.1")
			c.Hosts = []string{
				"[2001:db8::1]", "[2001:db8::1]:587", "192.0.2.2", "192.0.2.2:587", "a.example",
			}
		}, []string{
			`Hosts[0]: "[2001:db8::1]" cannot be reached from SourceAddress 192.0.2.1; ` +
				`both must be IPv4, or both IPv6`,
			`Hosts[1]: "[2001:db8::1]:587" cannot be reached from SourceAddress 192.0.2.1; ` +
				`both must be IPv4, or both IPv6`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := &SendConnector{Name: "out", AddressSpaces: spaces("*")}
			test.change(c)
			wantFaults(t, c.Validate(), test.want...)
		})
	}
}

func TestSendDefaults(t *testing.T) {
	t.Parallel()
	var zero SendConnector
	if c := zero.WithDefaults(); c.Port != 25 || c.MaxConnections != 20 ||
		c.MessagesPerConnection != 100 || c.TLS != TLSOpportunistic ||
		c.ConnectionAge != 5*time.Minute || c.IdleTimeout != 5*time.Second {
		t.Errorf("%#v", c)
	}
	zero.ImplicitTLS = true
	if c := zero.WithDefaults(); c.Port != 465 {
		t.Errorf("port %d", c.Port)
	}
	if c := (NextHop{LMTP: true}).WithDefaults(); c.Port != 24 {
		t.Errorf("port %d", c.Port)
	}
	set := SendConnector{NextHop: NextHop{Port: 26, MaxConnections: 1, MessagesPerConnection: -7}}
	if c := set.WithDefaults(); c.Port != 26 || c.MaxConnections != 1 ||
		c.MessagesPerConnection != -1 {
		t.Errorf("%d %d %d", c.Port, c.MaxConnections, c.MessagesPerConnection)
	}
}

func TestPasswordStaysOut(t *testing.T) {
	t.Parallel()
	c := &SendConnector{
		Name: "out", AddressSpaces: spaces("*"),
		NextHop: NextHop{Username: "u", Password: "hunter2"},
	}
	var buf bytes.Buffer
	for _, h := range []slog.Handler{
		slog.NewTextHandler(&buf, nil), slog.NewJSONHandler(&buf, nil),
	} {
		slog.New(h).Info("send", "connector", c, "copy", *c)
	}
	fmt.Fprintf(&buf, "%v %+v %s %#v %v %+v %#v %v", c, c, c, c, *c, *c, *c, []any{c, *c})
	h := &c.NextHop
	fmt.Fprintf(&buf, "%v %+v %s %#v %v %+v %#v %v", h, h, h, h, *h, *h, *h, []any{h, *h})
	slog.New(slog.NewTextHandler(&buf, nil)).Info("send", "hop", h, "copy", *h)
	_, err := NewSendSet(c)
	fmt.Fprint(&buf, err)
	if s := buf.String(); strings.Contains(s, "hunter2") || !strings.Contains(s, "out") {
		t.Error(s)
	}
}
