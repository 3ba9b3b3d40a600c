package connector_test

import (
	"testing"

	. "github.com/postern-mail/postern/connector"
)

// TestMatrix holds the permission groups to Exchange's table.
func TestMatrix(t *testing.T) {
	t.Parallel()
	const x, o = true, false
	for _, row := range []struct {
		right                                               Right
		anonymous, users, servers, secured, legacy, partner bool
	}{
		{Submit, x, x, x, x, x, x},
		{AcceptAnyRecipient, o, x, x, x, x, o},
		{AcceptAnySender, x, o, x, x, x, o},
		{AcceptAuthoritativeDomainSender, x, o, x, x, x, o},
		{AcceptAuthenticationFlag, o, o, x, x, x, o},
		{AcceptHeadersRouting, x, x, x, x, x, x},
		{AcceptHeadersOrganization, o, o, x, o, o, o},
		{AcceptHeadersForest, o, o, x, o, o, o},
		{BypassAntiSpam, o, x, x, x, x, o},
		{BypassMessageSizeLimit, o, o, x, x, x, o},
	} {
		secured := Connector{
			PermissionGroups: ExchangeServers, AuthMechanisms: ExternalAuthoritative,
		}
		server := Connector{
			PermissionGroups: ExchangeServers, AuthMechanisms: TLS | ExchangeServer,
			ServerNames: []string{"relay.example.com"},
		}
		for _, cell := range []struct {
			name      string
			got, want bool
		}{
			{"AnonymousUsers", AnonymousUsers.Rights().Has(row.right), row.anonymous},
			{"ExchangeUsers", ExchangeUsers.Rights().Has(row.right), row.users},
			{"ExchangeServers", ExchangeServers.Rights().Has(row.right), row.servers},
			{
				"ExchangeServers/server",
				server.Rights(
					Subject{TLS: true, Names: []string{"relay.example.com"}},
				).Has(row.right),
				row.servers,
			},
			{"ExchangeServers/ESS", secured.Rights(Subject{}).Has(row.right), row.secured},
			{"ExchangeLegacyServers", ExchangeLegacyServers.Rights().Has(row.right), row.legacy},
			{"Partners", Partners.Rights().Has(row.right), row.partner},
		} {
			if cell.got != cell.want {
				t.Errorf("%s, %s: %v, want %v", row.right, cell.name, cell.got, cell.want)
			}
		}
	}
	if got := PermissionGroup(0).Rights(); got != 0 {
		t.Errorf("no group has %s", got)
	}
}

func TestRights(t *testing.T) {
	t.Parallel()
	const (
		anonymous = Submit | AcceptAnySender | AcceptAuthoritativeDomainSender |
			AcceptHeadersRouting
		users    = Submit | AcceptAnyRecipient | AcceptHeadersRouting | BypassAntiSpam
		partners = Submit | AcceptHeadersRouting
		secured  = Submit | AcceptAnyRecipient | AcceptAnySender |
			AcceptAuthoritativeDomainSender | AcceptAuthenticationFlag | AcceptHeadersRouting |
			BypassAntiSpam | BypassMessageSizeLimit
	)
	everyGroup := AnonymousUsers | ExchangeUsers | ExchangeServers | ExchangeLegacyServers |
		Partners
	alice := Subject{
		Authenticated: true, User: "alice", Groups: []string{"staff", "ops"}, TLS: true,
	}
	contoso := Subject{Partner: "contoso.com", TLS: true}
	relay := Grant{Principal: Anonymous, Rights: AcceptAnyRecipient}

	for _, test := range []struct {
		name   string
		groups PermissionGroup
		auth   AuthMechanism
		grants []Grant
		peer   Subject
		want   Right
	}{
		{"a zero connector grants nothing", 0, 0, nil, Subject{}, 0},
		{"nor to a user", 0, 0, nil, alice, 0},
		{"anonymous", everyGroup, TLS, nil, Subject{}, anonymous},
		{"TLS alone changes nothing", everyGroup, TLS, nil, Subject{TLS: true}, anonymous},
		{"a user's rights replace the anonymous ones", everyGroup, TLS, nil, alice, users},
		{"a user without ExchangeUsers has none", AnonymousUsers, TLS | BasicAuth, nil, alice, 0},
		{
			"a user keeps no grant to anonymous", AnonymousUsers | ExchangeUsers, TLS,
			[]Grant{{Principal: Anonymous, Rights: AcceptAuthenticationFlag}}, alice, users,
		},
		{
			"groups alone do not log on", everyGroup, TLS,
			[]Grant{{Principal: Group("ops"), Rights: AcceptAnyRecipient}},
			Subject{User: "alice", Groups: []string{"ops"}}, anonymous,
		},

		{"partner", everyGroup, TLS, nil, contoso, partners},
		{"a partner without the group is anonymous", AnonymousUsers, TLS, nil, contoso, anonymous},
		{
			"a partner outside TLS is anonymous", everyGroup, TLS, nil,
			Subject{Partner: "contoso.com"}, anonymous,
		},
		{
			"a partner who logs on is a user", everyGroup, TLS, nil,
			Subject{Authenticated: true, User: "bob", Partner: "contoso.com", TLS: true}, users,
		},
		{"a grant makes a partner", AnonymousUsers, TLS, []Grant{
			{Principal: PartnerName("Contoso.com."), Rights: Submit | AcceptAnyRecipient},
		},
			Subject{Partner: "CONTOSO.com", TLS: true}, Submit | AcceptAnyRecipient},
		{"a grant to another domain does not", AnonymousUsers, TLS, []Grant{
			{Principal: PartnerName("contoso.com"), Rights: AcceptAnyRecipient},
		},
			Subject{Partner: "mail.contoso.com", TLS: true}, anonymous},
		{
			"a partner can be denied", AnonymousUsers | Partners, TLS,
			[]Grant{{Principal: PartnerName("contoso.com"), Rights: Submit, Deny: true}}, contoso,
			AcceptHeadersRouting,
		},

		{
			"relay grant", AnonymousUsers, TLS, []Grant{relay}, Subject{},
			anonymous | AcceptAnyRecipient,
		},
		{
			"grant to the authenticated", 0, TLS,
			[]Grant{{Principal: Authenticated, Rights: Submit}}, alice, Submit,
		},
		{
			"which anonymous does not get", 0, TLS,
			[]Grant{{Principal: Authenticated, Rights: Submit}}, Subject{}, 0,
		},
		{
			"grant to a user", ExchangeUsers, TLS,
			[]Grant{{Principal: User("alice"), Rights: AcceptAnySender}}, alice,
			users | AcceptAnySender,
		},
		{
			"grant to another user", ExchangeUsers, TLS,
			[]Grant{{Principal: User("bob"), Rights: AcceptAnySender}}, alice, users,
		},
		{
			"a grant minds the case", ExchangeUsers, TLS,
			[]Grant{{Principal: User("Alice"), Rights: AcceptAnySender}}, alice, users,
		},
		{
			"grant to a group", ExchangeUsers, TLS,
			[]Grant{{Principal: Group("ops"), Rights: AcceptAnySender}}, alice,
			users | AcceptAnySender,
		},
		{
			"grant to another group", ExchangeUsers, TLS,
			[]Grant{{Principal: Group("op"), Rights: AcceptAnySender}}, alice, users,
		},
		{
			"a user is not a group", ExchangeUsers, TLS,
			[]Grant{
				{Principal: Group("alice"), Rights: AcceptAnySender},
				{Principal: User("ops"), Rights: AcceptAnySender},
			},
			alice, users,
		},
		{"a user named like a principal is only a user", ExchangeUsers, TLS, []Grant{
			{Principal: Group("ops"), Rights: AcceptAnySender}, relay,
		},
			Subject{Authenticated: true, User: "group:ops"}, users},

		{
			"a denial wins over the group", AnonymousUsers, TLS,
			[]Grant{{Principal: Anonymous, Rights: AcceptAuthoritativeDomainSender, Deny: true}},
			Subject{}, anonymous &^ AcceptAuthoritativeDomainSender,
		},
		{
			"a denial wins over a later grant", AnonymousUsers, TLS,
			[]Grant{{Principal: Anonymous, Rights: AcceptAnyRecipient, Deny: true}, relay},
			Subject{},
			anonymous,
		},
		{
			"a denial wins over an earlier grant", AnonymousUsers, TLS,
			[]Grant{relay, {Principal: Anonymous, Rights: AcceptAnyRecipient, Deny: true}},
			Subject{},
			anonymous,
		},
		{"a denial of a group wins over a grant to the user", ExchangeUsers, TLS,
			[]Grant{
				{Principal: User("alice"), Rights: AcceptAnySender},
				{
					Principal: Group("staff"), Rights: AcceptAnySender | AcceptAnyRecipient,
					Deny: true,
				},
			}, alice, users &^ AcceptAnyRecipient},
		{
			"a denial is not dodged by case", ExchangeUsers, TLS,
			[]Grant{{Principal: User("ALICE"), Rights: Submit, Deny: true}}, alice, users &^ Submit,
		},

		{
			"externally secured", ExchangeServers, ExternalAuthoritative | TLS, nil, Subject{},
			secured,
		},
		{"whatever it shows", ExchangeServers, ExternalAuthoritative, nil, alice, secured},
		{"not without the group", AnonymousUsers, ExternalAuthoritative, nil, Subject{}, 0},
		{"denial to the externally secured", ExchangeServers, ExternalAuthoritative,
			[]Grant{
				{Principal: ExternallySecured, Rights: BypassMessageSizeLimit, Deny: true},
			}, Subject{}, secured &^ BypassMessageSizeLimit},
		{
			"which others do not notice", AnonymousUsers, TLS,
			[]Grant{{Principal: ExternallySecured, Rights: Submit, Deny: true}}, Subject{},
			anonymous,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := &Connector{
				PermissionGroups: test.groups, AuthMechanisms: test.auth, Grants: test.grants,
			}
			if got := c.Rights(test.peer); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestHas(t *testing.T) {
	t.Parallel()
	if r := Submit | BypassAntiSpam; !r.Has(Submit) || !r.Has(Submit|BypassAntiSpam) ||
		r.Has(Submit|AcceptAnySender) || !r.Has(0) {
		t.Error("Right.Has")
	}
	if g := AnonymousUsers | Partners; !g.Has(Partners) || g.Has(AuthenticatedUsers) ||
		g.Has(Partners|ExchangeUsers) {
		t.Error("PermissionGroup.Has")
	}
	if m := TLS | BasicAuth; !m.Has(TLS) || m.Has(NoAuth) || m.Has(TLS|BasicAuthRequireTLS) {
		t.Error("AuthMechanism.Has")
	}
}

func TestRightsAllocateNothing(t *testing.T) {
	c := Submission("users")
	c.Grants = []Grant{
		{Principal: Group("ops"), Rights: AcceptAnySender},
		{Principal: User("MALLORY"), Rights: Submit, Deny: true},
		{Principal: PartnerName("contoso.com"), Rights: Submit},
	}
	peers := []Subject{
		{}, {Authenticated: true, User: "alice", Groups: []string{"ops"}},
		{Partner: "contoso.com", TLS: true},
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range peers {
			c.Rights(p)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
