package connector_test

import (
	"net/netip"
	"strings"
	"testing"

	. "github.com/postern-mail/postern/connector"
)

func TestOpenRelay(t *testing.T) {
	t.Parallel()
	const v4 = "more public IPv4 addresses than a /8 block holds"
	const v6 = "more public IPv6 addresses than a /16 block holds"
	var eights []string // 0.0.0.0/0 in pieces
	for i := range 256 {
		eights = append(eights, netip.AddrFrom4([4]byte{byte(i)}).String()+"/8")
	}
	for _, test := range []struct {
		name   string
		ranges []Range
		want   string // "" where it is allowed
	}{
		{"everyone", Everyone(), v4},
		{"all of IPv4", ranges("0.0.0.0/0"), v4},
		{"all of IPv6", ranges("::/0"), v6},
		{"two halves", ranges("0.0.0.0/1", "128.0.0.0/1"), v4},
		{"half", ranges("128.0.0.0/1"), v4},
		{"256 pieces", ranges(eights...), v4},
		{"all but the last", ranges("0.0.0.0-255.255.255.254"), v4},
		{"all but the first", ranges("1.0.0.0-255.255.255.255"), v4},
		{"all but private blocks", ranges("11.0.0.0-126.255.255.255"), v4},
		{
			"mapped",
			[]Range{
				{
					netip.MustParseAddr("::ffff:0.0.0.0"),
					netip.MustParseAddr("::ffff:255.255.255.255"),
				},
			},
			v4,
		},
		{"a private host among them", ranges("10.0.0.1", "0.0.0.0/0"), v4},
		{"a public /8", ranges("17.0.0.0/8"), ""},
		{"a public /8 and what lies inside", ranges("17.0.0.0/8", "17.1.0.0/16", "17.1.1.1"), ""},
		{"a public /8 and one more", ranges("17.0.0.0/8", "192.0.2.1"), v4},
		{
			"a public /8 and all private blocks",
			ranges(
				"17.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
				"127.0.0.0/8", "169.254.0.0/16",
			),
			"",
		},
		{"loopback", Loopback(), ""},
		{"all of global IPv6", ranges("2000::/3"), v6},
		{"half of global IPv6", ranges("2000::/4"), v6},
		{"IPv6 in halves", ranges("::/1", "8000::/1"), v6},
		{"IPv6 but the last", ranges("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"), v6},
		{"IPv6 /15", ranges("2a00::/15"), v6},
		{"IPv6 /16", ranges("2a00::/16"), ""},
		{"unique local IPv6", ranges("fc00::/7", "fe80::/10"), ""},
		{
			"many hosts of one IPv6 network", ranges("2001:db8::1", "2001:db8::2", "2001:db8::/64"),
			"",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			relay := AnonymousRelay("apps", test.ranges...)
			var want []string
			if test.want != "" {
				want = []string{`RemoteIPRanges: open relay: without logging on (principal ` +
					`"anonymous"), hosts in these ranges may send to any recipient, ` +
					"and the ranges hold " + test.want +
					"; list only your own hosts, take away ms-Exch-SMTP-Accept-Any-Recipient, " +
					"or set OpenRelay"}
			}
			wantFaults(t, relay.Validate(), want...)

			secured := *relay
			secured.PermissionGroups, secured.Grants = ExchangeServers, nil
			secured.AuthMechanisms = ExternalAuthoritative
			if want != nil {
				want[0] = strings.Replace(want[0], "anonymous", "externally-secured", 1)
			}
			wantFaults(t, secured.Validate(), want...)

			secured.OpenRelay = true
			wantFaults(t, secured.Validate())
			relay.OpenRelay = true
			wantFaults(t, relay.Validate())

			relay.OpenRelay = false
			relay.Grants = append(
				relay.Grants, Grant{Principal: Anonymous, Rights: AcceptAnyRecipient, Deny: true},
			)
			wantFaults(t, relay.Validate())
		})
	}
}

// TestOpenRelayBesideAFault keeps an invalid range from hiding the others.
func TestOpenRelayBesideAFault(t *testing.T) {
	t.Parallel()
	wantFaults(t, AnonymousRelay("apps", Range{}, AllIPv6()).Validate(),
		"RemoteIPRanges[0]: no address",
		`RemoteIPRanges: open relay: without logging on (principal "anonymous"), hosts in `+
			`these ranges may send to any recipient, `+
			"and the ranges hold more public IPv6 addresses than a /16 block holds; list only "+
			"your own hosts, take away ms-Exch-SMTP-Accept-Any-Recipient, or set OpenRelay")
}

func TestOpenRelayNeedsNoWarningForUsers(t *testing.T) {
	t.Parallel()
	for _, c := range []*Connector{
		Submission("users"),
		valid(func(c *Connector) { // the Internet's mail goes to accepted domains
			*c = *New("mx", Internet)
			c.Bindings = bindings("0.0.0.0:25")
		}),
		valid(func(c *Connector) {
			c.RemoteIPRanges = Everyone()
			c.Grants = []Grant{{Principal: PartnerName("contoso.com"), Rights: AcceptAnyRecipient}}
		}),
	} {
		wantFaults(t, c.Validate())
	}
}
