package connector_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/postern-mail/postern/connector"
)

func ExampleSet_Explain() {
	lan := connector.AnonymousRelay("lan", connector.MustParseRange("192.168.1.0/24"))
	host := connector.AnonymousRelay("host", connector.MustParseRange("192.168.1.75"))
	port := netip.MustParseAddrPort("10.0.0.1:25")
	lan.Bindings = []netip.AddrPort{port}
	host.Bindings = []netip.AddrPort{port}
	set, err := connector.NewSet(lan, host)
	if err != nil {
		panic(err)
	}
	for _, c := range set.Explain(port, netip.MustParseAddr("192.168.1.75")) {
		fmt.Println(c.Connector.Name, c.Chosen, c.Reason)
	}
	// Output:
	// lan false connector "host" has a narrower range than 192.168.1.0/24
	// host true its range 192.168.1.75 is the narrowest on 10.0.0.1:25 that holds 192.168.1.75
}

func ExampleConnector_Explain() {
	c := connector.AnonymousRelay("apps", connector.MustParseRange("192.0.2.1"))
	c.Grants = append(c.Grants, connector.Grant{
		Principal: connector.Anonymous, Rights: connector.AcceptAuthoritativeDomainSender,
		Deny: true,
	})
	who, rights := c.Explain(connector.Subject{})
	fmt.Println(who)
	for _, r := range rights[:4] {
		fmt.Println(r.Right, r.Granted, r.Reason)
	}
	// Output:
	// anonymous
	// ms-Exch-SMTP-Submit true permission group AnonymousUsers
	// ms-Exch-SMTP-Accept-Any-Recipient true granted to anonymous
	// ms-Exch-SMTP-Accept-Any-Sender true permission group AnonymousUsers
	// ms-Exch-SMTP-Accept-Authoritative-Domain-Sender false denied to anonymous
}

// TestExplainAgreesWithRights holds the explanation to the decision, for every
// group and kind of peer.
func TestExplainAgreesWithRights(t *testing.T) {
	peers := []connector.Subject{
		{}, {Authenticated: true, User: "alice", Groups: []string{"ops"}},
		{TLS: true, Partner: "partner.example"},
		{TLS: true, Names: []string{"other.example", "partner.example"}},
		{TLS: true, Names: []string{"relay.example"}},
		{TLS: true, Authenticated: true, Server: true, User: "alice"},
	}
	for groups := range connector.PermissionGroup(1 << 5) {
		for _, auth := range []connector.AuthMechanism{
			connector.TLS, connector.TLS | connector.ExchangeServer,
			connector.ExternalAuthoritative,
		} {
			c := &connector.Connector{PermissionGroups: groups, AuthMechanisms: auth,
				ServerNames: []string{"relay.example"}, Grants: []connector.Grant{
					{Principal: connector.Anonymous, Rights: connector.AcceptAnyRecipient},
					{Principal: connector.Group("ops"), Rights: connector.BypassMessageSizeLimit},
					{Principal: connector.User("ALICE"), Rights: connector.Submit, Deny: true},
					{
						Principal: connector.PartnerName("partner.example"),
						Rights:    connector.AcceptAnySender,
					},
					{
						Principal: connector.Servers, Rights: connector.AcceptAuthenticationFlag,
						Deny: true,
					},
				}}
			for _, p := range peers {
				var got connector.Right
				_, list := c.Explain(p)
				for _, s := range list {
					if s.Granted {
						got |= s.Right
					}
					if s.Reason == "" {
						t.Errorf("%v: no reason", s.Right)
					}
				}
				if want := c.Rights(p); got != want {
					t.Errorf("groups %v, peer %+v: explained %v, decided %v", groups, p, got, want)
				}
			}
		}
	}
}

func TestExplainBindings(t *testing.T) {
	at := func(name, binding string) *connector.Connector {
		c := connector.AnonymousRelay(name, connector.MustParseRange("192.0.2.0/24"))
		c.Bindings = []netip.AddrPort{netip.MustParseAddrPort(binding)}
		return c
	}
	set, err := connector.NewSet(
		at("exact", "10.0.0.1:25"), at("all", "0.0.0.0:25"), at("other", "10.0.0.1:26"),
	)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"no remote range of it holds 198.51.100.1",
		"its binding 0.0.0.0:25 gives way to the binding 10.0.0.1:25",
		"no binding of it takes connections to 10.0.0.1:25",
	} {
		got := set.Explain(
			netip.MustParseAddrPort("10.0.0.1:25"), netip.MustParseAddr("198.51.100.1"),
		)[i]
		if got.Chosen || got.Reason != want {
			t.Errorf("%s: %q, want %q", got.Connector.Name, got.Reason, want)
		}
	}
}

func TestExplainRanges(t *testing.T) {
	c := connector.AnonymousRelay(
		"c", connector.MustParseRange("192.0.2.0/24"), connector.MustParseRange("192.0.2.7"),
	)
	c.Bindings = []netip.AddrPort{netip.MustParseAddrPort("[::]:25")}
	set, err := connector.NewSet(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ local, remote, binding, held string }{
		{"10.0.0.1:25", "192.0.2.7", "[::]:25", "192.0.2.7"},
		{"[2001:db8::1]:25", "192.0.2.8", "[::]:25", "192.0.2.0/24"},
	} {
		got := set.Explain(netip.MustParseAddrPort(test.local), netip.MustParseAddr(test.remote))[0]
		if !got.Chosen || got.Binding.String() != test.binding || got.Range.String() != test.held {
			t.Errorf("%s from %s: %+v", test.local, test.remote, got)
		}
	}
	for _, s := range []*connector.Set{set, nil} {
		for _, k := range s.Explain(netip.AddrPort{}, netip.Addr{}) {
			if k.Chosen || k.Binding.IsValid() {
				t.Errorf("no address: %+v", k)
			}
		}
	}
}

func ExampleConnector_Permissions() {
	fmt.Println(connector.New("in", connector.Internet).Permissions())
	fmt.Println(connector.AnonymousRelay("apps").Permissions())
	fmt.Println(connector.New("empty", connector.Custom).Permissions())
	// Output:
	// AnonymousUsers
	// AnonymousUsers, Custom
	// None
}
