package connector_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"

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
		"":                 "empty",
		"*contoso.com":     "a * stands alone or before the first dot, as in *.example.com",
		"mail.*.com":       "a * stands alone or before the first dot, as in *.example.com",
		"*.*.com":          "a * stands alone or before the first dot, as in *.example.com",
		"*.":               "a * stands alone or before the first dot, as in *.example.com",
		".":                "empty",
		"--":               `label "--" begins or ends with a hyphen`,
		"[192.0.2.1]":      `label "[192" has a character other than letters, digits and hyphens`,
		"X400:c=us":        `type "X400"; only SMTP is known`,
		"contoso.com;":     `cost "" is not a number from 1 to 100`,
		"contoso.com;0":    `cost "0" is not a number from 1 to 100`,
		"contoso.com;-1":   "cost -1 is out of range; use 1 to 100",
		"contoso.com;101":  "cost 101 is out of range; use 1 to 100",
		"contoso.com;1;2":  `cost "1;2" is not a number from 1 to 100`,
		"contoso.com;1e1":  `cost "1e1" is not a number from 1 to 100`,
		"münchen.example":  `label "münchen" is not ASCII; write it in A-labels (xn--…)`,
		"exa mple.com":     `label "exa mple" has a character other than letters, digits and hyphens`,
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
			`AddressSpaces[2]: "*contoso.com": a * stands alone or before the first dot, as in *.example.com`,
			`AddressSpaces[3]: "b.example": cost 101 is out of range; use 1 to 100`,
		}},
		{"smart hosts", func(c *SendConnector) {
			c.SmartHosts = []string{
				"mail.example.com", "mail.example.com.", "mail.example.com:587", "localhost:2525",
				"192.0.2.1", "192.0.2.1:25", "[2001:db8::1]", "[2001:db8::1]:25",
				"[192.0.2.1]", "[fe80::1%eth0]:25",
			}
		}, nil},
		{"invalid smart hosts", func(c *SendConnector) {
			c.SmartHosts = []string{
				"", "2001:db8::1", "[::1", "[::1]25", "[mail]:25", "a:0", "a:65536", "a:smtp", "a:",
				"a b", "300.1.1.1", ":25", "a:25:26",
			}
		}, []string{
			`SmartHosts[0]: "": empty`,
			`SmartHosts[1]: "2001:db8::1": write IPv6 in brackets: [2001:db8::1]`,
			`SmartHosts[2]: "[::1": ] is missing`,
			`SmartHosts[3]: "[::1]25": only :port may follow the ]`,
			`SmartHosts[4]: "[mail]:25": "mail" is not an IP address`,
			`SmartHosts[5]: "a:0": port "0" is not a number from 1 to 65535`,
			`SmartHosts[6]: "a:65536": port "65536" is not a number from 1 to 65535`,
			`SmartHosts[7]: "a:smtp": port "smtp" is not a number from 1 to 65535`,
			`SmartHosts[8]: "a:": port "" is not a number from 1 to 65535`,
			`SmartHosts[9]: "a b": label "a b" has a character other than letters, digits and hyphens`,
			`SmartHosts[10]: "300.1.1.1": a domain does not end in digits alone`,
			`SmartHosts[11]: ":25": empty`,
			`SmartHosts[12]: "a:25:26": port "25:26" is not a number from 1 to 65535`,
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
			c.TLS, c.SmartHosts = TLSDomainValidation, []string{"mail.example.com"}
		}, []string{
			"TLSDomain: missing; DomainValidation with smart hosts needs the name in their " +
				"certificates",
		}},
		{"DomainValidation with MX", func(c *SendConnector) { c.TLS = TLSDomainValidation }, nil},
		{"DomainValidation", func(c *SendConnector) {
			c.TLS, c.SmartHosts, c.TLSDomain = TLSDomainValidation, []string{
				"192.0.2.1",
			}, "mail.example.com"
		}, nil},
		{"invalid TLSDomain", func(c *SendConnector) {
			c.TLS, c.TLSDomain = TLSDomainValidation, "*.example.com"
		},
			[]string{
				`TLSDomain: "*.example.com": label "*" has a character other than letters, digits and hyphens`,
			}},
		{"ImplicitTLS without TLS", func(c *SendConnector) {
			c.TLS, c.ImplicitTLS, c.SmartHosts = TLSNone, true, []string{"a"}
		},
			[]string{"ImplicitTLS: contradicts TLS None; choose another TLS level"}},
		{"ImplicitTLS with MX", func(c *SendConnector) {
			c.ImplicitTLS = true
		}, []string{"ImplicitTLS: needs smart hosts; mail exchangers do not speak it"}},
		{"credentials", func(c *SendConnector) {
			c.SmartHosts, c.Username, c.Password = []string{"a"}, "u", "p"
			c.TLS, c.TLSDomain = TLSDomainValidation, "a"
		}, nil},
		{"credentials for whoever answers", func(c *SendConnector) {
			c.SmartHosts, c.Username, c.Password = []string{"a"}, "u", "p"
		}, []string{unverified}},
		{"credentials for whoever encrypts", func(c *SendConnector) {
			c.SmartHosts, c.Username, c.Password = []string{"a"}, "u", "p"
			c.TLS = TLSEncryptionOnly
		}, []string{unverified}},
		{"credentials for whoever has a certificate", func(c *SendConnector) {
			c.SmartHosts, c.Username, c.Password = []string{"a"}, "u", "p"
			c.TLS = TLSCertificateValidation
		}, []string{unverified}},
		{"credentials unverified", func(c *SendConnector) {
			c.SmartHosts, c.Username, c.Password = []string{"a"}, "u", "p"
			c.TLS, c.AllowUnverifiedAuth = TLSEncryptionOnly, true
		}, nil},
		{"credentials unverified without TLS", func(c *SendConnector) {
			c.SmartHosts, c.Username, c.Password = []string{"a"}, "u", "p"
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
			c.SmartHosts, c.TLS, c.Username, c.Password = []string{"a"}, TLSNone, "u", "p"
		}, []string{
			"Username: needs TLS to be sent; choose another TLS level, or set " +
				"AllowPlaintextAuth on a network that nobody else can read",
		}},
		{"credentials in the clear", func(c *SendConnector) {
			c.SmartHosts, c.TLS, c.Username, c.Password, c.AllowPlaintextAuth = []string{
				"a",
			}, TLSNone, "u", "p", true
		}, nil},
		{"no password", func(c *SendConnector) {
			c.SmartHosts, c.Username, c.AllowUnverifiedAuth = []string{"a"}, "u", true
		}, []string{"Password: missing; there is a Username"}},
		{"no user name", func(c *SendConnector) {
			c.SmartHosts, c.Password = []string{"a"}, "p"
		}, []string{"Username: missing; there is a Password"}},
		{"FQDN", func(c *SendConnector) {
			c.FQDN = "-"
		}, []string{`FQDN: "-": label "-" begins or ends with a hyphen`}},
		{"negative numbers", func(c *SendConnector) {
			c.Port, c.MaxMessageBytes, c.MaxConnections, c.MessagesPerConnection = -1, -1, -1, -1
		}, []string{
			"Port: -1 is out of range; use 1 to 65535",
			"MaxMessageBytes: -1 is negative; use 0 for no limit",
			"MaxConnections: -1 is negative; there is always a limit, 20 by default",
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
		c.MessagesPerConnection != 20 || c.TLS != TLSOpportunistic {
		t.Errorf("%#v", c)
	}
	zero.ImplicitTLS = true
	if c := zero.WithDefaults(); c.Port != 465 {
		t.Errorf("port %d", c.Port)
	}
	set := SendConnector{Port: 26, MaxConnections: 1, MessagesPerConnection: -7}
	if c := set.WithDefaults(); c.Port != 26 || c.MaxConnections != 1 ||
		c.MessagesPerConnection != -1 {
		t.Errorf("%d %d %d", c.Port, c.MaxConnections, c.MessagesPerConnection)
	}
}

func TestPasswordStaysOut(t *testing.T) {
	t.Parallel()
	c := &SendConnector{Name: "out", AddressSpaces: spaces("*"), Username: "u", Password: "hunter2"}
	var buf bytes.Buffer
	for _, h := range []slog.Handler{
		slog.NewTextHandler(&buf, nil), slog.NewJSONHandler(&buf, nil),
	} {
		slog.New(h).Info("send", "connector", c, "copy", *c)
	}
	fmt.Fprintf(&buf, "%v %+v %s %#v %v %+v %#v %v", c, c, c, c, *c, *c, *c, []any{c, *c})
	_, err := NewSendSet(c)
	fmt.Fprint(&buf, err)
	if s := buf.String(); strings.Contains(s, "hunter2") || !strings.Contains(s, "out") {
		t.Error(s)
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	send := func(name string, limit int64, list ...string) *SendConnector {
		return &SendConnector{Name: name, MaxMessageBytes: limit, AddressSpaces: spaces(list...)}
	}
	off := send("off", 0, "off.example", "marketing.contoso.com")
	off.Disabled = true
	s, err := NewSendSet(
		send("z-all", 0, "*;2"),
		send("all", 1000, "*;1", "tiny.example"),
		send("com", 0, "*.com;100"),
		send("contoso", 500, "*.contoso.com"),
		send("marketing", 100, "marketing.contoso.com;9"),
		send("b-even", 0, "even.example;5"),
		send("A-even", 0, "even.example;5"),
		send("cheap", 50, "even.example;4"),
		off,
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		domain      string
		size        int64
		name, space string
	}{
		{"marketing.contoso.com", 100, "marketing", "marketing.contoso.com"},
		{"Marketing.Contoso.COM.", 100, "marketing", "marketing.contoso.com"},
		{"marketing.contoso.com", 101, "contoso", "*.contoso.com"}, // too large moves on
		{"marketing.contoso.com", 501, "com", "*.com"},
		// a plain domain has no subdomains
		{"sub.marketing.contoso.com", 1, "contoso", "*.contoso.com"},
		{"contoso.com", 1, "contoso", "*.contoso.com"},
		{"notcontoso.com", 1, "com", "*.com"},
		{"com", 1, "com", "*.com"},
		{"example.org", 1000, "all", "*"},
		{"example.org", 1001, "z-all", "*"},
		{"even.example", 50, "cheap", "even.example"},
		{"even.example", 51, "A-even", "even.example"}, // equal cost: by name, whatever the case
		{"off.example", 1, "all", "*"},
		{"[192.0.2.1]", 1, "all", "*"},
		{"", 1, "all", "*"},
		{"tiny.example", 2000, "z-all", "*"},
	} {
		r, ok, tooLarge := s.Select(test.domain, test.size)
		if !ok || tooLarge || r.Connector.Name != test.name || r.Space != test.space {
			t.Errorf(
				"%s, %d octets: %v %v %v, want %s by %s", test.domain, test.size, r, ok, tooLarge,
				test.name, test.space,
			)
		}
	}
	if got := fmt.Sprint(
		s.Connectors(),
	); got != "[z-all all com contoso marketing b-even A-even cheap]" {
		t.Error(got)
	}

	small, err := NewSendSet(send("a", 10, "a.example", "*.example"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		domain   string
		size     int64
		ok, tooL bool
	}{
		{"a.example", 10, true, false},
		{"a.example", 11, false, true},
		{"b.example", math.MaxInt64, false, true},
		{"example.org", 11, false, false},
	} {
		if r, ok, tooLarge := small.Select(test.domain, test.size); ok != test.ok ||
			tooLarge != test.tooL || !ok && r != (Route{}) {
			t.Errorf("%s, %d octets: %v %v %v", test.domain, test.size, r, ok, tooLarge)
		}
	}
	for _, empty := range []*SendSet{nil, {}} {
		if r, ok, tooLarge := empty.Select("a.example", 1); r != (Route{}) || ok || tooLarge ||
			empty.Connectors() != nil {
			t.Errorf("%v is not empty", empty)
		}
	}
}

func TestSelectAllocatesNothing(t *testing.T) {
	s, err := NewSendSet(&SendConnector{Name: "out", AddressSpaces: spaces("*", "*.example.com")})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		s.Select("a.b.c.example.com", 1)
		s.Select("example.org", 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNewSendSetFaults(t *testing.T) {
	t.Parallel()
	s, err := NewSendSet(
		&SendConnector{Name: "out", AddressSpaces: spaces("*")}, nil,
		&SendConnector{Name: "OUT", SmartHosts: []string{"a b"}},
	)
	wantFaults(t, err,
		"[1]: nil send connector",
		"[2].AddressSpaces: missing; use * for all domains",
		`[2].SmartHosts[0]: "a b": label "a b" has a character other than letters, digits and hyphens`,
		`[2].Name: "OUT" is also the name of [0]; names must differ`,
	)
	if s != nil {
		t.Error("a set in spite of faults")
	}
}

// FuzzSelect compares the set with the rules put one after the other.
func FuzzSelect(f *testing.F) {
	f.Add("a.b.c", int64(3), []byte{0, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add("c", int64(9), []byte{9, 9, 9, 0, 0, 0, 255, 254, 253})
	f.Add("x..A.b.", int64(0), []byte{7, 3, 5})
	domains := []string{"*", "*.c", "*.b.c", "b.c", "a.b.c", "c", "*.a.b.c", "x.c"}
	f.Fuzz(func(t *testing.T, domain string, size int64, data []byte) {
		var list []*SendConnector
		for i := 0; i+2 < len(data) && i < 30; i += 3 {
			c := &SendConnector{
				Name: fmt.Sprint("n", data[i]%16, "-", i), MaxMessageBytes: int64(data[i+1] % 8),
			}
			for j := range domains {
				if data[i+2]&(1<<j) != 0 {
					c.AddressSpaces = append(
						c.AddressSpaces, AddressSpace{domains[j], int(data[i]%3) + 1},
					)
				}
			}
			if c.AddressSpaces != nil {
				list = append(list, c)
			}
		}
		s, err := NewSendSet(list...)
		if err != nil {
			t.Fatal(err)
		}
		domain = strings.TrimSuffix(strings.ToLower(domain), ".")
		r, ok, tooLarge := s.Select(domain, size)
		want, wantTooLarge := naiveSelect(list, domain, size)
		if r != want || ok != (want.Connector != nil) || tooLarge != wantTooLarge {
			t.Fatalf(
				"%q, %d octets: %v %v %v, want %v %v", domain, size, r, ok, tooLarge, want,
				wantTooLarge,
			)
		}
	})
}

func naiveSelect(list []*SendConnector, domain string, size int64) (best Route, tooLarge bool) {
	domain = strings.TrimSuffix(domain, ".")
	bestRank, bestCost := -1, 0
	for _, c := range list {
		for _, a := range c.AddressSpaces {
			rank := -1
			parent, wild := strings.CutPrefix(a.Domain, "*.")
			switch {
			case a.Domain == "*":
				rank = 0
			case !wild && domain == a.Domain:
				rank = 1000
			case wild && (domain == parent || strings.HasSuffix(domain, "."+parent)):
				rank = len(parent)
			}
			if rank < 0 {
				continue
			}
			if c.MaxMessageBytes != 0 && size > c.MaxMessageBytes {
				tooLarge = true
				continue
			}
			better := rank > bestRank
			if rank == bestRank {
				better = a.Cost < bestCost || a.Cost == bestCost && c.Name < best.Connector.Name
			}
			if better {
				best, bestRank, bestCost = Route{c, a.Domain}, rank, a.Cost
			}
		}
	}
	return best, tooLarge && best.Connector == nil
}
