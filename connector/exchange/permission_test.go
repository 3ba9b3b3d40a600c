package exchange_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/connector/exchange"
)

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "(end)"
}

// TestRights asks the connectors of the dump what their sessions may do.
func TestRights(t *testing.T) {
	r := mustRead(t, load(t, "remote"))
	byName := map[string]*connector.Connector{}
	for _, c := range r.Connectors {
		byName[c.Name] = c
	}
	user := connector.Subject{Authenticated: true, User: `CONTOSO\svc-app`, TLS: true}
	for _, tt := range []struct {
		name string
		peer connector.Subject
		want connector.Right
	}{
		{
			"Relay", connector.Subject{},
			connector.AnonymousUsers.Rights() | connector.AcceptAnyRecipient,
		},
		{"Relay", user, connector.Submit}, // it may be one of the guests
		{
			"Relay",
			connector.Subject{
				Authenticated: true, User: "other", Groups: []string{`CONTOSO\guests`},
			},
			0,
		},
		{"Printers", connector.Subject{}, connector.AnonymousUsers.Rights()},
		{
			"Internet", connector.Subject{},
			connector.AnonymousUsers.Rights() &^ connector.AcceptAuthoritativeDomainSender,
		},
		{"Default Frontend EX01", connector.Subject{}, connector.AnonymousUsers.Rights()},
		{"Default Frontend EX01", user, 0},
		{"Client Frontend EX01", user, connector.ExchangeUsers.Rights()},
		{"Client Frontend EX01", connector.Subject{}, 0},
		{
			"Trusted apps", connector.Subject{},
			connector.ExchangeServers.Rights() &^
				(connector.AcceptHeadersOrganization | connector.AcceptHeadersForest),
		},
	} {
		if got := byName[tt.name].Rights(tt.peer); got != tt.want {
			t.Errorf("%s, %+v: %v, want %v", tt.name, tt.peer, got, tt.want)
		}
	}
	if _, err := connector.NewSet(r.Connectors...); err != nil {
		t.Error(err)
	}
}

const anyRecipient = `[{"User": "NT AUTHORITY\\ANONYMOUS LOGON", "ExtendedRights": ` +
	`["ms-Exch-SMTP-Accept-Any-Recipient"], "Deny": false}]`

// TestGrants reads the permissions of one connector.
func TestGrants(t *testing.T) {
	const (
		anonymous = `"User": "NT AUTHORITY\\ANONYMOUS LOGON"`
		submit    = `"ms-Exch-SMTP-Submit"`
		relay     = `"ms-Exch-SMTP-Accept-Any-Recipient"`
	)
	grant := func(p connector.Principal, r connector.Right) connector.Grant {
		return connector.Grant{Principal: p, Rights: r}
	}
	deny := func(p connector.Principal, r connector.Right) connector.Grant {
		return connector.Grant{Principal: p, Rights: r, Deny: true}
	}
	for _, tt := range []struct {
		name, changes, rows string
		want                []connector.Grant
	}{
		{"one", `{}`, `{` + anonymous + `, "ExtendedRights": ` + relay + `, "Deny": false}`,
			[]connector.Grant{grant(connector.Anonymous, connector.AcceptAnyRecipient)}},
		{"of the group", `{}`, `{` + anonymous + `,
			"ExtendedRights": {"RawIdentity": "ms-exch-accept-headers-routing"}, "Deny": false}`,
			nil},
		{"whole list lacks some", `{}`, `{` + anonymous + `, "ExtendedRights": [` + submit + `,
			"ms-Exch-SMTP-Accept-Any-Sender", "ms-Exch-Accept-Headers-Routing"], "Deny": false}`,
			[]connector.Grant{
				deny(connector.Anonymous, connector.AcceptAuthoritativeDomainSender),
			}},
		{"cut off list", `{}`, `{` + anonymous + `,
			"ExtendedRights": "ms-Exch-SMTP-Accept-Any-Recipient ms-Exch-Bypass-Anti-Spam", "Deny": false}`,
			[]connector.Grant{
				grant(connector.Anonymous, connector.AcceptAnyRecipient|connector.BypassAntiSpam),
			}},
		{"denied to all", `{}`, `{"User": "Everyone", "ExtendedRights": ` + relay +
			`, "Deny": "True"}`,
			[]connector.Grant{
				deny(connector.Anonymous, connector.AcceptAnyRecipient),
				deny(connector.Authenticated, connector.AcceptAnyRecipient),
			}},
		{"denied to users", `{}`, `{"User": "S-1-5-11", "ExtendedRights": ` + relay +
			`, "Deny": true}`,
			[]connector.Grant{deny(connector.Authenticated, connector.AcceptAnyRecipient)}},
		{"user by identifier", `{}`, `{"User": "CONTOSO\\app", "Sid": "S-1-5-21-1-2-3-1104",
			"ExtendedRights": [` + submit + `, ` + relay + `], "Deny": false}`,
			[]connector.Grant{
				grant(connector.User(`CONTOSO\app`), connector.Submit|connector.AcceptAnyRecipient),
			}},
		{"user in a known domain", `{}`, `[{"User": "CONTOSO\\app", "ExtendedRights": ` + relay + `,
			"Deny": false},
			{"User": "contoso\\Organization Management", "AccessRights": ["GenericAll"], "Deny": false}]`,
			[]connector.Grant{grant(connector.User(`CONTOSO\app`), connector.AcceptAnyRecipient)}},
		{"user denied", `{}`, `{"User": {"RawIdentity": "CONTOSO\\app",
			"SecurityIdentifier": {"Value": "S-1-5-21-1-2-3-1104"}}, "ExtendedRights": ` + relay +
			`,
			"Deny": true}`,
			[]connector.Grant{deny(connector.User(`CONTOSO\app`), connector.AcceptAnyRecipient),
				deny(connector.Group(`CONTOSO\app`), connector.AcceptAnyRecipient),
				deny(connector.Authenticated, connector.AcceptAnyRecipient)}},
		{"missing account denied", `{}`, `{"User": "S-1-5-21-1-2-3-1104", "ExtendedRights": ` +
			relay + `,
			"Deny": true}`,
			[]connector.Grant{deny(connector.Authenticated, connector.AcceptAnyRecipient)}},
		{"other well-known account denied", `{}`, `{"User": "RESEAU", "Sid": "S-1-5-2",
			"ExtendedRights": ` + relay + `, "Deny": {"IsPresent": true}}`,
			[]connector.Grant{deny(connector.Anonymous, connector.AcceptAnyRecipient),
				deny(connector.Authenticated, connector.AcceptAnyRecipient)}},
		{"in French", `{}`, `[{"User": "AUTORITE NT\\ANONYMOUS LOGON", "Sid": "S-1-5-7",
			"ExtendedRights": "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender", "Deny": true},
			{"User": {"RawIdentity": "AUTORITE NT\\Utilisateurs authentifiés",
				"SecurityIdentifier": {"BinaryLength": 12, "AccountDomainSid": null, "Value": "S-1-5-11"}},
				"ExtendedRights": ` + relay + `, "Deny": false}]`,
			[]connector.Grant{deny(connector.Anonymous, connector.AcceptAuthoritativeDomainSender),
				grant(connector.Authenticated, connector.AcceptAnyRecipient)}},
		{"of no matter in French", `{}`, `[{"User": "AUTORITE NT\\Système",
			"AccessRights": ["GenericAll"], "Deny": false},
			{"User": "AUTORITE NT\\Système", "ExtendedRights": "Send-As", "Deny": true}]`, nil},
		{"every right denied to all", `{}`, `{"User": "S-1-1-0", "AccessRights": [983551], ` +
			`"Deny": true}`,
			[]connector.Grant{
				deny(connector.Anonymous, 1<<10-1), deny(connector.Authenticated, 1<<10-1),
			}},
		{"every right denied to a user", `{}`,
			`{"User": "CONTOSO\\app", "Sid": "S-1-5-21-1-2-3-1104",
			"AccessRights": "ReadProperty, ExtendedRight", "Deny": true}`,
			[]connector.Grant{deny(connector.User(`CONTOSO\app`), 1<<10-1),
				deny(
					connector.Group(`CONTOSO\app`), 1<<10-1,
				), deny(connector.Authenticated, 1<<10-1)}},
		{"below the connector", `{}`, `[{` + anonymous + `, "ExtendedRights": ` + relay + `,
			"Deny": false, "InheritanceType": 2},
			{` + anonymous + `, "ExtendedRights": ` + relay + `, "Deny": false,
				"InheritedObjectType": "user"}]`, nil},
		{"for the connector", `{}`, `{` + anonymous + `, "ExtendedRights": ` + relay +
			`, "Deny": false,
			"InheritanceType": "All", "InheritedObjectType": "ms-Exch-Smtp-Receive-Connector"}`,
			[]connector.Grant{grant(connector.Anonymous, connector.AcceptAnyRecipient)}},
		{"own servers", `{"AuthMechanism": "Tls, ExchangeServer"}`,
			`[{"User": "CONTOSO\\Exchange Servers", "ExtendedRights": ` + relay + `, "Deny": false},
			{"User": "MS Exchange\\Edge Transport Servers", "ExtendedRights": ` + submit + `,
			"Deny": true}]`,
			[]connector.Grant{
				grant(connector.Servers, connector.AcceptAnyRecipient),
				deny(connector.Servers, connector.Submit),
			}},
		{"no servers", `{}`, `[{"User": "CONTOSO\\Exchange Servers", "ExtendedRights": ` + relay +
			`,
			"Deny": false}, {"User": "S-1-5-21-1-2-3-500", "ExtendedRights": ` + relay +
			`, "Deny": false}]`,
			nil},
		{"externally secured", `{"AuthMechanism": "ExternalAuthoritative", "PermissionGroups": ` +
			`"ExchangeServers"}`,
			`[{"User": "MS Exchange\\Externally Secured Servers",
				"ExtendedRights": ["ms-Exch-Accept-Headers-Organization", ` + relay +
				`], "Deny": false},
				{` + anonymous + `, "ExtendedRights": ` + relay + `, "Deny": false}]`,
			[]connector.Grant{
				grant(connector.ExternallySecured, connector.AcceptHeadersOrganization),
			}},
		{"not externally secured", `{}`, `{"User": "MS Exchange\\Externally Secured Servers",
			"ExtendedRights": ` + relay + `, "Deny": false}`, nil},
		{
			"denied by access right", `{}`,
			`{` + anonymous + `, "AccessRights": "ExtendedRight", "Deny": true}`,
			[]connector.Grant{deny(connector.Anonymous, 1<<10-1)},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := mustRead(
				t,
				exchange.Dump{ReceiveConnectors: receive(tt.changes), Permissions: []byte(tt.rows)},
			)
			if got := r.Connectors[0].Grants; !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestUnclearPermissions reads rows that may take something away, or give
// something to somebody else. Each is a fault that names what is unclear.
func TestUnclearPermissions(t *testing.T) {
	const relay = `"ExtendedRights": "ms-Exch-SMTP-Accept-Any-Recipient", `
	for _, tt := range []struct{ name, rows, field, want string }{
		{"denied in French", `{"User": "AUTORITE NT\\ANONYMOUS LOGON", ` + relay + `"Deny": true}`,
			"User", `AUTORITE NT\\ANONYMOUS LOGON`},
		{"granted in French", `{"User": "AUTORITE NT\\ANONYMOUS LOGON", ` + relay +
			`"Deny": false}`,
			"User", "may be anybody"},
		{"denied in Italian", `{"User": "NT AUTHORITY\\ACCESSO ANONIMO", ` + relay +
			`"Deny": true}`,
			"User", "ACCESSO ANONIMO"},
		{"everybody in Spanish", `{"User": "Todos", ` + relay + `"Deny": true}`, "User", "Todos"},
		{"all denied", `{"User": "Todos", "AccessRights": [256], "Deny": true}`, "User", "Todos"},
		{"no domain", `{"User": "app", ` + relay + `"Deny": false}`, "User", "app"},
		{"unknown domain", `[{"User": "FABRIKAM\\app", ` + relay + `"Deny": false},
			{"User": "CONTOSO\\Exchange Servers", ` + relay + `"Deny": false}]`, "User",
			"FABRIKAM"},
		{"no identifier", `{"User": "CONTOSO\\app", "Sid": "app", ` + relay +
			`"Deny": true}`, "Sid",
			"not a security identifier"},
		{"another identifier", `{"User": "NT AUTHORITY\\Authenticated Users", "Sid": "S-1-5-7",
			` + relay + `"Deny": false}`, "Sid", "contradicts"},
		{"two identifiers", `{"User": "S-1-5-7", "Sid": "S-1-5-11", ` + relay +
			`"Deny": false}`, "Sid",
			"contradicts"},
		{"odd identifier", `{"User": "S-1-5-07", ` + relay +
			`"Deny": true}`, "User", "not a security " +
			"identifier"},
		{
			"denial or not", `{"User": "S-1-5-7", ` + relay + `"IsInherited": false}`, "Deny",
			"missing",
		},
		{
			"perhaps a denial", `{"User": "S-1-5-7", ` + relay + `"Deny": "non"}`, "Deny",
			"true or false",
		},
		{"denied by number", `{"User": "S-1-5-7",
			"ExtendedRights": ["ab721a53-1e2f-11d0-9819-00aa0040529b"], "Deny": true}`,
			"ExtendedRights",
			"name of no right"},
		{"denied by another name", `{"User": "S-1-5-7",
			"ExtendedRights": ["Submit Messages to any Recipient"], "Deny": true}`,
			"ExtendedRights",
			"name of no right"},
		{"denied and cut off",
			`{"User": "S-1-5-7", "ExtendedRights": ["ms-Exch-SMTP-Accept-Any-Recip"],
			"Deny": true}`, "ExtendedRights", "name of no right"},
		{"denied on no connector", `{"Identity": "EX01\\Other", "User": "S-1-5-7",
			` + relay + `"Deny": true}`, "Identity", "would be lost"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := exchange.Read(exchange.Dump{ReceiveConnectors: receive(`{}`),
				Permissions: []byte(tt.rows)})
			e, ok := errors.AsType[*postern.FieldError](err)
			if !ok || e.Field != "Permissions[0]."+tt.field ||
				!strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestDenialOfNoConnector loses no denial because the identity in its row has
// another form than that of the connector.
func TestDenialOfNoConnector(t *testing.T) {
	const denial = `"User": "S-1-5-7", "Deny": true,
		"ExtendedRights": "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender"}`
	for _, tt := range []struct{ name, connector, identity string }{
		{"path of the server", `{"Identity": null, "Server": "corp.example/EX01"}`, `EX01\\Relay`},
		{
			"full name of the server", `{"Identity": null, "Server": "ex01.corp.example"}`,
			`EX01\\Relay`,
		},
		{"backslash in a name", `{}`, `CN=Relay\\, printers,CN=EX01`},
		{"path", `{}`, `corp.example/Servers/EX01/SMTP\\Relay`},
	} {
		_, err := exchange.Read(exchange.Dump{ReceiveConnectors: receive(tt.connector),
			Permissions: []byte(`{"Identity": "` + tt.identity + `", ` + denial)})
		if err == nil || !strings.Contains(err.Error(), "no receive connector of the dump") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	r := mustRead(t, exchange.Dump{ReceiveConnectors: receive(`{}`),
		Permissions: []byte(`{"Identity": "EX02\\Relay", ` + denial)})
	if len(r.Connectors[0].Grants) != 0 {
		t.Errorf("a denial on another server: %v", r.Connectors[0].Grants)
	}
}
