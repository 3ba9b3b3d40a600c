package connector_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	. "github.com/postern-mail/postern/connector"
)

// TestServers covers who is one of the operator's own relays, and what follows.
func TestServers(t *testing.T) {
	t.Parallel()
	servers, users := ExchangeServers.Rights(), ExchangeUsers.Rights()
	anonymous := AnonymousUsers.Rights()
	base := Connector{
		PermissionGroups: AnonymousUsers | ExchangeUsers | ExchangeServers | Partners,
		AuthMechanisms:   TLS | BasicAuth | ExchangeServer,
		ServerNames:      []string{"relay1.example.com", "Relay2.example.com."},
	}
	logged := Subject{
		Authenticated: true, User: "relay", Groups: []string{"dmz"}, Server: true, TLS: true,
	}
	for _, test := range []struct {
		name   string
		change func(*Connector)
		peer   Subject
		want   Right
		who    Principal
	}{
		{
			"by certificate", nil, Subject{TLS: true, Names: []string{"relay1.example.com"}},
			servers,
			Servers,
		},
		{
			"in any spelling", nil, Subject{TLS: true, Names: []string{"RELAY2.example.com"}},
			servers,
			Servers,
		},
		{
			"by any name of the certificate", nil,
			Subject{TLS: true, Names: []string{"www.example.com", "relay1.example.com"}}, servers,
			Servers,
		},
		{
			"not outside TLS", nil, Subject{Names: []string{"relay1.example.com"}}, anonymous,
			Anonymous,
		},
		{
			"not by another name", nil, Subject{TLS: true, Names: []string{"relay.example.com"}},
			Partners.Rights(), PartnerName("relay.example.com"),
		},
		{
			"not by a wildcard", nil, Subject{TLS: true, Names: []string{"*.example.com"}},
			anonymous,
			Anonymous,
		},
		{
			"not as a partner", nil, Subject{TLS: true, Partner: "relay1.example.com"},
			Partners.Rights(), PartnerName("relay1.example.com"),
		},
		{"not without the mechanism", func(c *Connector) { c.AuthMechanisms = TLS },
			Subject{
				TLS: true, Names: []string{"relay1.example.com"},
			}, Partners.Rights(), PartnerName("relay1.example.com")},
		{"without the group it may do nothing", func(c *Connector) {
			c.PermissionGroups = AnonymousUsers
		},
			Subject{TLS: true, Names: []string{"relay1.example.com"}}, 0, Servers},

		{"by logon", nil, logged, servers, Servers},
		{
			"not by logon outside TLS", nil,
			Subject{Authenticated: true, User: "relay", Server: true}, users, User("relay"),
		},
		{"not by logon without the mechanism", func(c *Connector) {
			c.AuthMechanisms = TLS | BasicAuth
		}, logged, users, User("relay")},
		{"not before logon", nil, Subject{Server: true, TLS: true}, anonymous, Anonymous},
		{"who logs on as a user is one, whatever the certificate", nil,
			Subject{
				Authenticated: true, User: "alice", TLS: true,
				Names: []string{"relay1.example.com"},
			}, users, User("alice")},
		{"ExternalAuthoritative comes first", func(c *Connector) {
			c.AuthMechanisms = TLS | ExternalAuthoritative
		}, logged,
			servers &^ (AcceptHeadersOrganization | AcceptHeadersForest), ExternallySecured},

		{"denial", func(c *Connector) {
			c.Grants = []Grant{{Principal: Servers, Rights: AcceptHeadersForest, Deny: true}}
		},
			Subject{
				TLS: true, Names: []string{"relay1.example.com"},
			}, servers &^ AcceptHeadersForest, Servers},
		{"grant", func(c *Connector) {
			c.PermissionGroups, c.Grants = 0, []Grant{
				{Principal: Servers, Rights: Submit},
				{Principal: Anonymous, Rights: AcceptAnySender},
			}
		}, logged, Submit, Servers},
		{"a denial to the name it logged on with", func(c *Connector) {
			c.Grants = []Grant{{Principal: User("RELAY"), Rights: Submit, Deny: true}}
		},
			logged, servers &^ Submit, Servers},
		{"a denial to its group", func(c *Connector) {
			c.Grants = []Grant{{Principal: Group("dmz"), Rights: Submit, Deny: true}}
		},
			logged, servers &^ Submit, Servers},
		{"a denial to all who logged on", func(c *Connector) {
			c.Grants = []Grant{{Principal: Authenticated, Rights: Submit, Deny: true}}
		},
			logged, servers &^ Submit, Servers},
		{"which a certificate does not meet", func(c *Connector) {
			c.Grants = []Grant{{Principal: Authenticated, Rights: Submit, Deny: true}}
		},
			Subject{TLS: true, Names: []string{"relay1.example.com"}}, servers, Servers},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := base
			if test.change != nil {
				test.change(&c)
			}
			if got := c.Rights(test.peer); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if who, _ := c.Explain(test.peer); who != test.who {
				t.Errorf("principal %s, want %s", who, test.who)
			}
		})
	}
}

// TestPartnerNames covers which domains a certificate proves.
func TestPartnerNames(t *testing.T) {
	t.Parallel()
	mapped := map[string]string{
		"mail.contoso.com": "contoso.com", "mx.fabrikam.com": "fabrikam.com",
	}
	relay := Grant{Principal: PartnerName("contoso.com"), Rights: AcceptAnyRecipient}
	denied := Grant{Principal: PartnerName("contoso.com"), Rights: Submit, Deny: true}
	partners := Partners.Rights()
	for _, test := range []struct {
		name   string
		groups PermissionGroup
		mapped map[string]string
		grants []Grant
		names  []string
		want   Right
		who    Principal
	}{
		{
			"a name stands for itself", Partners, nil, nil, []string{"Mail.Contoso.com."}, partners,
			"partner:mail.contoso.com",
		},
		{
			"and not for the domain above", Partners, nil, []Grant{relay},
			[]string{"mail.contoso.com"}, partners, "partner:mail.contoso.com",
		},
		{
			"a mapped name stands for its domain", Partners, mapped, []Grant{relay},
			[]string{"MAIL.contoso.com"}, partners | AcceptAnyRecipient, "partner:contoso.com",
		},
		{
			"a name that is not mapped stands for nothing", Partners, mapped, nil,
			[]string{"contoso.com"}, 0, Anonymous,
		},
		{
			"all names are tried", Partners, mapped, nil, []string{"a.example", "mx.fabrikam.com"},
			partners, "partner:fabrikam.com",
		},
		{
			"a granted name is preferred", Partners, mapped, []Grant{relay},
			[]string{"mx.fabrikam.com", "mail.contoso.com"}, partners | AcceptAnyRecipient,
			"partner:contoso.com",
		},
		{
			"a denial meets any name", Partners, mapped, []Grant{denied},
			[]string{"mx.fabrikam.com", "mail.contoso.com"}, partners &^ Submit,
			"partner:contoso.com",
		},
		{
			"a grant makes a partner", 0, mapped,
			[]Grant{{Principal: Anonymous, Rights: Submit}, relay}, []string{"mail.contoso.com"},
			AcceptAnyRecipient, "partner:contoso.com",
		},
		{
			"no grant, no partner", AnonymousUsers, mapped, []Grant{relay},
			[]string{"mx.fabrikam.com"}, AnonymousUsers.Rights(), Anonymous,
		},
		{
			"a wildcard proves nothing", Partners | AnonymousUsers, nil, nil,
			[]string{"*.contoso.com"}, AnonymousUsers.Rights(), Anonymous,
		},
		{
			"nor do empty names", Partners | AnonymousUsers, nil, nil, []string{"", "."},
			AnonymousUsers.Rights(), Anonymous,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := &Connector{
				AuthMechanisms: TLS, PermissionGroups: test.groups, PartnerNames: test.mapped,
				Grants: test.grants,
			}
			p := Subject{TLS: true, Names: test.names}
			if got := c.Rights(p); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if who, _ := c.Explain(p); who != test.who {
				t.Errorf("principal %s, want %s", who, test.who)
			}
			p.TLS = false
			if got, want := c.Rights(p), c.Rights(Subject{}); got != want {
				t.Errorf("outside TLS: %s, want %s", got, want)
			}
		})
	}
}

func TestAsksForCertificate(t *testing.T) {
	t.Parallel()
	names := []string{"relay.example.com"}
	for _, test := range []struct {
		name string
		c    Connector
		want bool
	}{
		{"zero", Connector{}, false},
		{
			"TLS alone",
			Connector{AuthMechanisms: TLS, Grants: []Grant{{Principal: Anonymous, Rights: Submit}}},
			false,
		},
		{"servers", Connector{AuthMechanisms: TLS | ExchangeServer, ServerNames: names}, true},
		{"servers by secret only", Connector{AuthMechanisms: TLS | ExchangeServer}, false},
		{"partners", Connector{AuthMechanisms: TLS, PermissionGroups: Partners}, true},
		{"partners without TLS", Connector{PermissionGroups: Partners}, false},
		{
			"a granted partner",
			Connector{
				AuthMechanisms: TLS,
				Grants:         []Grant{{Principal: PartnerName("a.example"), Rights: Submit}},
			},
			true,
		},
		{
			"ExternalAuthoritative",
			Connector{AuthMechanisms: TLS | ExternalAuthoritative, PermissionGroups: Partners},
			false,
		},
	} {
		if got := test.c.AsksForCertificate(); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestCheckTrusted(t *testing.T) {
	t.Parallel()
	wantFaults(t, CheckTrusted(nil))
	wantFaults(t, CheckTrusted(ranges("10.0.0.0/8", "192.0.2.1", "fd00::/8")))
	const wide = "these ranges hold more than a /8 block of public IPv4 or a /16 block of " +
		"public IPv6 addresses, " +
		"and any host in them could claim to be any other; list only your own"
	err := CheckTrusted(append(ranges("0.0.0.0/1"), Range{}))
	if got, want := fmt.Sprint(err), "[1]: no address\n"+wide; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := CheckTrusted(ranges("2000::/8")); fmt.Sprint(err) != wide {
		t.Errorf("IPv6: %v", err)
	}
}

func TestHasBinding(t *testing.T) {
	t.Parallel()
	set, err := NewSet(valid(func(*Connector) {}))
	if err != nil {
		t.Fatal(err)
	}
	var none *Set
	for _, b := range bindings(
		"127.0.0.1:25", "127.0.0.1:26", "[::ffff:127.0.0.1]:25", "192.0.2.1:25",
	) {
		if got, want := set.HasBinding(b), b.Port() == 25 &&
			b.Addr().Unmap().IsLoopback(); got != want || none.HasBinding(b) {
			t.Errorf("%s: %v", b, got)
		}
	}
	if set.HasBinding(netip.AddrPort{}) {
		t.Error("no address")
	}
}

func TestRoleAllocatesNothing(t *testing.T) {
	c := &Connector{
		AuthMechanisms: TLS | ExchangeServer, ServerNames: []string{"relay.example.com"},
		PermissionGroups: ExchangeServers | Partners,
		PartnerNames:     map[string]string{"mail.contoso.com": "contoso.com"},
		Grants:           []Grant{{Principal: PartnerName("contoso.com"), Rights: AcceptAnySender}},
	}
	for _, p := range []Subject{
		{TLS: true, Names: []string{"relay.example.com"}},
		{TLS: true, Names: slices.Repeat([]string{"x.example", "mail.contoso.com"}, 3)},
	} {
		if n := testing.AllocsPerRun(100, func() { c.Rights(p) }); n != 0 {
			t.Errorf("%v allocations for %v", n, p.Names)
		}
	}
}
