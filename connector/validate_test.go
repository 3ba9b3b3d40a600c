package connector_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-mail/postern"
	. "github.com/postern-mail/postern/connector"
)

func bindings(list ...string) []netip.AddrPort {
	var b []netip.AddrPort
	for _, s := range list {
		b = append(b, netip.MustParseAddrPort(s))
	}
	return b
}

func ranges(list ...string) []Range {
	var r []Range
	for _, s := range list {
		r = append(r, MustParseRange(s))
	}
	return r
}

// wantFaults expects exactly these faults, each a *postern.FieldError.
func wantFaults(t *testing.T, err error, want ...string) {
	t.Helper()
	var got []string
	if err != nil {
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok {
			t.Fatalf("%T is not joined: %v", err, err)
		}
		for _, e := range joined.Unwrap() {
			var fe *postern.FieldError
			if !errors.As(e, &fe) || fe.Field == "" || fe.Unwrap() == nil {
				t.Errorf("%T is no postern.FieldError: %v", e, e)
			}
			got = append(got, e.Error())
		}
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got:\n%s\nwant:\n%s", g, w)
	}
}

// valid returns a connector without a fault, changed by f.
func valid(f func(*Connector)) *Connector {
	c := New("c", Custom)
	c.Bindings = bindings("127.0.0.1:25")
	c.RemoteIPRanges = ranges("10.0.0.0/8")
	f(c)
	return c
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Connector)
		want   []string
	}{
		{"nothing wrong", func(*Connector) {}, nil},

		{"no name", func(c *Connector) {
			c.Name = " "
		}, []string{"Name: missing; give the connector a name of its own"}},
		{"long name", func(c *Connector) {
			c.Name = strings.Repeat("ä", 65)
		}, []string{"Name: longer than 64 characters"}},
		{"name of 64 characters", func(c *Connector) { c.Name = strings.Repeat("ä", 64) }, nil},
		{"name with white space around", func(c *Connector) {
			c.Name = "a "
		}, []string{`Name: white space at an end of "a "`}},
		{"name of two lines", func(c *Connector) {
			c.Name = "a\nb"
		}, []string{`Name: "a\nb": control characters are not allowed`}},
		{"unknown usage", func(c *Connector) {
			c.Usage = 9
		}, []string{"Usage: 9 is no usage; valid are Client, Custom, Internal, Internet, Partner"}},

		{"no binding", func(c *Connector) {
			c.Bindings = nil
		}, []string{"Bindings: missing; name a local address and port, such as 0.0.0.0:25"}},
		{"zero binding", func(c *Connector) {
			c.Bindings = []netip.AddrPort{{}}
		}, []string{"Bindings[0]: no address"}},
		{"multicast binding", func(c *Connector) {
			c.Bindings = bindings("224.0.0.1:25")
		}, []string{"Bindings[0]: 224.0.0.1 is a multicast address"}},
		{"binding twice", func(c *Connector) {
			c.Bindings = bindings("127.0.0.1:25", "[::1]:25", "[::ffff:127.0.0.1]:25")
		},
			[]string{"Bindings[2]: 127.0.0.1:25 is listed twice; remove one"}},
		{"two free ports", func(c *Connector) {
			c.Bindings = bindings("127.0.0.1:0", "127.0.0.1:0")
		}, nil},

		{"no range", func(c *Connector) {
			c.RemoteIPRanges = nil
		}, []string{"RemoteIPRanges: missing; list the remote addresses the connector is for"}},
		{"invalid ranges", func(c *Connector) {
			a, b, z := netip.MustParseAddr(
				"10.0.0.1",
			), netip.MustParseAddr("::1"), netip.MustParseAddr("fe80::1%eth0")
			c.RemoteIPRanges = []Range{{}, {From: a}, {a, b}, {b, b}, {z, z}, {a.Next(), a}}
		}, []string{
			"RemoteIPRanges[0]: no address", "RemoteIPRanges[1]: no address",
			"RemoteIPRanges[2]: 10.0.0.1 and ::1 are of different families",
			"RemoteIPRanges[4]: zones are not allowed",
			"RemoteIPRanges[5]: the last address 10.0.0.1 is below the first 10.0.0.2; swap them",
		}},
		{"range twice", func(c *Connector) {
			c.RemoteIPRanges = ranges("10.0.0.1", "10.0.0.0/8", "10.0.0.1-10.0.0.1")
		}, []string{"RemoteIPRanges[2]: 10.0.0.1 is listed twice; remove one"}},
		{"nested ranges", func(c *Connector) {
			c.RemoteIPRanges = ranges("10.0.0.1", "10.0.0.0/8", "10.0.0.0/24", "::1")
		}, nil},
		{"overlapping ranges", func(c *Connector) {
			c.RemoteIPRanges = ranges("10.0.0.5-10.0.0.9", "10.0.0.1-10.0.0.6")
		},
			[]string{
				"RemoteIPRanges[1]: 10.0.0.1-10.0.0.6 overlaps 10.0.0.5-10.0.0.9; one must lie " +
					"inside the other, or they must be apart",
			}},

		{"unknown group", func(c *Connector) {
			c.PermissionGroups = 1 << 6
		}, []string{"PermissionGroups: 0x40 is no permission group"}},
		{"unknown mechanism", func(c *Connector) {
			c.AuthMechanisms = TLS | 1<<7
		}, []string{"AuthMechanisms: 0x80 is no auth mechanism"}},

		{"None with others", func(c *Connector) { c.AuthMechanisms = NoAuth | TLS | BasicAuth },
			[]string{"AuthMechanisms: None must stand alone; remove it, or remove Tls, BasicAuth"}},
		{"None alone", func(c *Connector) { c.AuthMechanisms = NoAuth }, nil},
		{"no mechanism", func(c *Connector) { c.AuthMechanisms = 0 }, nil},
		{"BasicAuthRequireTLS without Tls", func(c *Connector) {
			c.AuthMechanisms = BasicAuth | BasicAuthRequireTLS
		},
			[]string{"AuthMechanisms: BasicAuthRequireTLS needs BasicAuth and Tls; add Tls"}},
		{"BasicAuthRequireTLS without BasicAuth", func(c *Connector) {
			c.AuthMechanisms = TLS | BasicAuthRequireTLS
		},
			[]string{"AuthMechanisms: BasicAuthRequireTLS needs BasicAuth and Tls; add BasicAuth"}},
		{"BasicAuthRequireTLS alone", func(c *Connector) { c.AuthMechanisms = BasicAuthRequireTLS },
			[]string{
				"AuthMechanisms: BasicAuthRequireTLS needs BasicAuth and Tls; add Tls, BasicAuth",
			}},
		{"BasicAuth without Tls", func(c *Connector) { c.AuthMechanisms = BasicAuth }, nil},
		{"ExternalAuthoritative with others", func(c *Connector) {
			c.AuthMechanisms = ExternalAuthoritative | TLS | BasicAuth | Integrated
			c.PermissionGroups = ExchangeServers
		}, []string{
			"AuthMechanisms: ExternalAuthoritative may be combined with Tls only; remove " +
				"BasicAuth, Integrated",
		}},
		{"ExternalAuthoritative without ExchangeServers", func(c *Connector) {
			c.AuthMechanisms = ExternalAuthoritative
		},
			[]string{
				"PermissionGroups: ExternalAuthoritative needs ExchangeServers and nothing " +
					"else; these are None",
			}},
		{"ExternalAuthoritative with AnonymousUsers", func(c *Connector) {
			c.AuthMechanisms = ExternalAuthoritative | TLS
			c.PermissionGroups = ExchangeServers | AnonymousUsers
		}, []string{
			"PermissionGroups: ExternalAuthoritative needs ExchangeServers and nothing else; " +
				"these are AnonymousUsers, ExchangeServers",
		}},
		{"ExternalAuthoritative", func(c *Connector) {
			c.AuthMechanisms, c.PermissionGroups = ExternalAuthoritative, ExchangeServers
		}, nil},
		{"RequireTLS without Tls", func(c *Connector) {
			c.RequireTLS, c.AuthMechanisms = true, 0
		}, []string{"RequireTLS: needs Tls; add it to AuthMechanisms"}},
		{"RequireTLS with None", func(c *Connector) {
			c.RequireTLS, c.AuthMechanisms = true, NoAuth
		}, []string{"RequireTLS: needs Tls; add it to AuthMechanisms"}},
		{"RequireTLS with ExternalAuthoritative alone", func(c *Connector) {
			c.RequireTLS, c.AuthMechanisms = true, ExternalAuthoritative
			c.PermissionGroups = ExchangeServers
		}, []string{"RequireTLS: needs Tls; add it to AuthMechanisms"}},
		{"RequireTLS", func(c *Connector) { c.RequireTLS = true }, nil},
		{"ImplicitTLS without Tls", func(c *Connector) {
			c.ImplicitTLS, c.AuthMechanisms = true, 0
		}, []string{"ImplicitTLS: needs Tls; add it to AuthMechanisms"}},
		{"ImplicitTLS with RequireTLS", func(c *Connector) {
			c.ImplicitTLS, c.RequireTLS = true, true
		}, nil},
		{"ExchangeServer with a name", func(c *Connector) {
			c.AuthMechanisms |= ExchangeServer
			c.FQDN = "mx.example.com"
		},
			[]string{
				"FQDN: ExchangeServer needs the server's own name; leave FQDN empty or remove " +
					"ExchangeServer",
			}},
		{"ExchangeServer", func(c *Connector) { c.AuthMechanisms |= ExchangeServer }, nil},
		{"ExchangeServer without Tls", func(c *Connector) { c.AuthMechanisms = ExchangeServer },
			[]string{
				"AuthMechanisms: ExchangeServer needs Tls, in which servers prove who they " +
					"are; add Tls",
			}},
		{"server names", func(c *Connector) {
			c.AuthMechanisms |= ExchangeServer
			c.ServerNames = []string{"relay-1.example.com"}
		}, nil},
		{"server names without ExchangeServer", func(c *Connector) {
			c.ServerNames = []string{"relay.example.com"}
		},
			[]string{
				"ServerNames: no session is a server without ExchangeServer; add it to " +
					"AuthMechanisms",
			}},
		{"invalid server names", func(c *Connector) {
			c.AuthMechanisms |= ExchangeServer
			c.ServerNames = []string{"", "*.example.com"}
		},
			[]string{
				`ServerNames[0]: "": empty`,
				`ServerNames[1]: "*.example.com": label "*" has a character other than ` +
					`letters, digits and hyphens`,
			}},
		{"partner names", func(c *Connector) {
			c.PartnerNames = map[string]string{"mail.contoso.com": "contoso.com"}
		}, nil},
		{"invalid partner names", func(c *Connector) {
			c.PartnerNames = map[string]string{
				"*.a.com": "a.com", "B.com": "b.com", "c.com": "*", "d.com": "",
			}
		}, []string{
			`PartnerNames["*.a.com"]: label "*" has a character other than letters, digits and ` +
				`hyphens`,
			`PartnerNames["B.com"]: write the name in lower case`,
			`PartnerNames["c.com"]: "*": label "*" has a character other than letters, digits ` +
				`and hyphens`,
			`PartnerNames["d.com"]: "": empty`,
		}},
		{"partner names without Tls", func(c *Connector) {
			c.AuthMechanisms, c.PartnerNames = 0, map[string]string{
				"mail.contoso.com": "contoso.com",
			}
		}, []string{"PartnerNames: needs Tls; add it to AuthMechanisms"}},
		{"partner names with ExternalAuthoritative", func(c *Connector) {
			c.AuthMechanisms, c.PermissionGroups = TLS|ExternalAuthoritative, ExchangeServers
			c.PartnerNames = map[string]string{"mail.contoso.com": "contoso.com"}
		}, []string{
			"PartnerNames: with ExternalAuthoritative no session is a partner; remove one of them",
		}},

		{"invalid grants", func(c *Connector) {
			c.Grants = []Grant{
				{Rights: Submit}, {Principal: "Anonymous", Rights: Submit},
				{Principal: User("alice")}, {Principal: Group("ops"), Rights: 1 << 12},
				{Principal: "partner:A.com", Rights: Submit},
			}
		}, []string{
			`Grants[0].Principal: invalid principal "": empty`,
			`Grants[1].Principal: invalid principal "Anonymous": valid are anonymous, ` +
				`authenticated, servers, externally-secured, user:NAME, group:NAME, partner:DOMAIN`,
			"Grants[2].Rights: missing; name a right",
			"Grants[3].Rights: 0x1000 is no right",
			`Grants[4].Principal: invalid principal "partner:A.com": a partner's domain is ` +
				`written in lower case`,
		}},
		{"grant to the externally secured without ExternalAuthoritative", func(c *Connector) {
			c.Grants = []Grant{{Principal: ExternallySecured, Rights: Submit}}
		}, []string{
			`Grants[0].Principal: no session is "externally-secured" without ExternalAuthoritative`,
		}},
		{"grant to servers without ExchangeServer", func(c *Connector) {
			c.Grants = []Grant{{Principal: Servers, Rights: Submit}}
		}, []string{`Grants[0].Principal: no session is "servers" without ExchangeServer`}},
		{"grant to servers", func(c *Connector) {
			c.AuthMechanisms |= ExchangeServer
			c.Grants = []Grant{{Principal: Servers, Rights: Submit}}
		}, nil},
		{"denial to anonymous with ExternalAuthoritative", func(c *Connector) {
			c.AuthMechanisms, c.PermissionGroups = ExternalAuthoritative, ExchangeServers
			c.Grants = []Grant{{Principal: Anonymous, Rights: AcceptAnyRecipient, Deny: true}}
		}, []string{
			`Grants[0].Principal: with ExternalAuthoritative every session is ` +
				`"externally-secured", never "anonymous"`,
		}},

		{"FQDN", func(c *Connector) {
			c.FQDN = "mx_1.example.com"
		}, []string{
			`FQDN: "mx_1.example.com": label "mx_1" has a character other than letters, digits ` +
				`and hyphens`,
		}},
		{"FQDN like an address", func(c *Connector) {
			c.FQDN = "192.0.2.1"
		}, []string{`FQDN: "192.0.2.1": a domain does not end in digits alone`}},
		{"FQDN in Unicode", func(c *Connector) {
			c.FQDN = "mü.example"
		}, []string{
			`FQDN: "mü.example": label "mü" is not ASCII; write it in A-labels (xn--…)`,
		}},
		{"FQDN with an empty label", func(c *Connector) {
			c.FQDN = "mx..example"
		}, []string{`FQDN: "mx..example": empty label: a dot too many`}},
		{"FQDN with a hyphen", func(c *Connector) {
			c.FQDN = "mx-.example"
		}, []string{`FQDN: "mx-.example": label "mx-" begins or ends with a hyphen`}},
		{"long label", func(c *Connector) { c.FQDN = strings.Repeat("a", 64) + ".de" },
			[]string{
				`FQDN: "` + strings.Repeat(
					"a", 64,
				) + `.de": label "` + strings.Repeat("a", 64) + `" is longer than 63 octets`,
			}},
		{"long FQDN", func(c *Connector) { c.FQDN = strings.Repeat("a.", 126) + "de" },
			[]string{`FQDN: "` + strings.Repeat("a.", 126) + `de": longer than 253 octets`}},

		{"banner without 220", func(c *Connector) {
			c.Banner = "mx.example.com ESMTP"
		}, []string{"Banner: must begin with 220 and a space"}},
		{"banner that continues", func(c *Connector) {
			c.Banner = "220-mx.example.com ESMTP"
		}, []string{"Banner: must begin with 220 and a space"}},
		{"banner of two lines", func(c *Connector) {
			c.Banner = "220 a\r\n250 b"
		}, []string{"Banner: must be one line of printable ASCII"}},
		{"long banner", func(c *Connector) {
			c.Banner = "220 " + strings.Repeat("a", 507)
		}, []string{"Banner: longer than 510 octets"}},
		{"banner", func(c *Connector) { c.Banner = "220 mx.example.com ESMTP" }, nil},

		{"keywords", func(c *Connector) {
			c.SuppressedKeywords = []string{
				"pipelining", "", "A B", "-X", "AUTH=", strings.Repeat("K", 65),
			}
		}, []string{
			`SuppressedKeywords[1]: "" is no ESMTP keyword`,
			`SuppressedKeywords[2]: "A B" is no ESMTP keyword`,
			`SuppressedKeywords[3]: "-X" is no ESMTP keyword`,
			`SuppressedKeywords[4]: "AUTH=" is no ESMTP keyword`,
			`SuppressedKeywords[5]: "` + strings.Repeat("K", 65) + `" is no ESMTP keyword`,
		}},
		{"BINARYMIME without CHUNKING", func(c *Connector) {
			c.SuppressedKeywords = []string{"chunking"}
		},
			[]string{"SuppressedKeywords: BINARYMIME needs CHUNKING; suppress BINARYMIME as well"}},
		{"neither", func(c *Connector) {
			c.SuppressedKeywords = []string{"chunking", "BinaryMime", "X-A1"}
		}, nil},
		{"RequireTLS without STARTTLS", func(c *Connector) {
			c.RequireTLS, c.SuppressedKeywords = true, []string{"StartTLS"}
		},
			[]string{
				"SuppressedKeywords: STARTTLS is the only way into the TLS that the connector " +
					"requires; do not suppress it",
			}},
		{"BasicAuthRequireTLS without STARTTLS", func(c *Connector) {
			c.AuthMechanisms = TLS | BasicAuth | BasicAuthRequireTLS
			c.SuppressedKeywords = []string{"STARTTLS"}
		}, []string{
			"SuppressedKeywords: STARTTLS is the only way into the TLS that the connector " +
				"requires; do not suppress it",
		}},
		{"ImplicitTLS without STARTTLS", func(c *Connector) {
			c.RequireTLS, c.ImplicitTLS, c.SuppressedKeywords = true, true, []string{"STARTTLS"}
		}, nil},

		{"a disabled connector is checked", func(c *Connector) {
			c.Disabled, c.Bindings = true, nil
		},
			[]string{"Bindings: missing; name a local address and port, such as 0.0.0.0:25"}},
		{"limits have a path", func(c *Connector) { c.Limits.MaxHops = 501 },
			[]string{
				"Limits.MaxHops: 501 is out of range; use 1 to 500, or 0 for the default, 30",
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			wantFaults(t, valid(test.change).Validate(), test.want...)
		})
	}
}

func TestValidateNothing(t *testing.T) {
	if (*Connector)(nil).Validate() == nil || (*SendConnector)(nil).Validate() == nil {
		t.Error("nothing is valid")
	}
}
