package exchange_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/connector/exchange"
	"github.com/postern-mail/postern/domains"
)

// update writes what Read gives to the golden files.
var update = flag.Bool("update", false, "write the golden files")

func load(t testing.TB, dir string) exchange.Dump {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", dir, name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return exchange.Dump{
		ReceiveConnectors: read("receive"), AcceptedDomains: read("accepted"),
		SendConnectors: read("send"), Permissions: read("permissions"),
	}
}

func mustRead(t testing.TB, d exchange.Dump) *exchange.Result {
	t.Helper()
	r, err := exchange.Read(d)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestGolden reads the same organization as a remote and as a local session
// print it.
func TestGolden(t *testing.T) {
	for _, dir := range []string{"remote", "local"} {
		t.Run(dir, func(t *testing.T) {
			r := mustRead(t, load(t, dir))
			var notes strings.Builder
			for _, n := range r.Notes {
				fmt.Fprintln(&notes, n)
			}
			r.Notes = nil
			golden(t, "result.json", []byte(indent(t, r)+"\n"))
			golden(t, "notes.txt", []byte(notes.String()))
		})
	}
}

// indent prints what is set in a value.
func indent(t *testing.T, v any) string {
	t.Helper()
	var tree any
	if err := json.Unmarshal([]byte(marshal(t, v)), &tree); err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(prune(tree), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func prune(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k, inner := range x {
			if inner = prune(inner); inner == nil || inner == false || inner == "" || inner == 0.0 {
				delete(x, k)
			} else {
				x[k] = inner
			}
		}
	case []any:
		for i := range x {
			x[i] = prune(x[i])
		}
	}
	return v
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	have, expected := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(have), len(expected)) {
		if i >= len(have) || i >= len(expected) || have[i] != expected[i] {
			t.Fatalf(
				"%s differs at line %d:\ngot  %s\nwant %s", name, i+1, at(have, i), at(expected, i),
			)
		}
	}
}

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
			connector.ExchangeServers.Rights() &^ (connector.AcceptHeadersOrganization | connector.AcceptHeadersForest),
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

// receive is a receive connector with nothing unusual, and the changes to it.
func receive(changes string) []byte {
	return merge(`{"Name": "Relay", "Identity": "EX01\\Relay", "Server": "EX01",
		"AuthMechanism": "Tls", "PermissionGroups": "AnonymousUsers",
		"Enabled": true, "RequireTLS": false, "Bindings": ["0.0.0.0:25"],
			"RemoteIPRanges": ["10.0.0.0/24"], "TransportRole": "FrontendTransport"}`, changes)
}

func send(changes string) []byte {
	return merge(
		`{"Name": "Out", "AddressSpaces": ["SMTP:*;1"], "DNSRoutingEnabled": true}`, changes,
	)
}

func accepted(changes string) []byte {
	return merge(
		`{"DomainName": "contoso.com", "DomainType": "Authoritative", "AddressBookEnabled": true}`,
		changes,
	)
}

func merge(base, changes string) []byte {
	all := map[string]json.RawMessage{}
	for _, s := range []string{base, changes} {
		if err := json.Unmarshal([]byte(s), &all); err != nil {
			panic(err)
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return b
}

const anyRecipient = `[{"User": "NT AUTHORITY\\ANONYMOUS LOGON", "ExtendedRights": ["ms-Exch-SMTP-Accept-Any-Recipient"], "Deny": false}]`

// TestNotes reads what deserves a word. A case without a note wants none for
// the parameter.
func TestNotes(t *testing.T) {
	for _, tt := range []struct {
		name      string
		dump      exchange.Dump
		parameter string
		want      string // in the reason
	}{
		{
			"T1 group without the relay right",
			exchange.Dump{ReceiveConnectors: receive(`{"PermissionGroups": "AnonymousUsers"}`)},
			"PermissionGroups", "granted to anonymous",
		},
		{
			"T1 relay right granted",
			exchange.Dump{ReceiveConnectors: receive(`{}`), Permissions: []byte(anyRecipient)},
			"PermissionGroups", "",
		},
		{
			"T2 open relay",
			exchange.Dump{
				ReceiveConnectors: receive(`{"RemoteIPRanges": ["0.0.0.0-255.255.255.255"]}`),
				Permissions:       []byte(anyRecipient),
			},
			"RemoteIPRanges", "open relay",
		},
		{
			"T3 trusted network",
			exchange.Dump{
				ReceiveConnectors: receive(
					`{"AuthMechanism": "ExternalAuthoritative", "PermissionGroups": "ExchangeServers"}`,
				),
			},
			"AuthMechanism", "relay to anybody",
		},
		{
			"T4 both methods",
			exchange.Dump{
				ReceiveConnectors: receive(`{"AuthMechanism": 32, "PermissionGroups": 5}`),
			},
			"PermissionGroups", "nothing else",
		},
		{
			"T5 organization headers",
			exchange.Dump{
				ReceiveConnectors: receive(`{"AuthMechanism": 33, "PermissionGroups": 4}`),
			},
			"AuthMechanism", "X-MS-Exchange-Organization",
		},
		{
			"T8 own domain",
			exchange.Dump{
				ReceiveConnectors: receive(`{"RemoteIPRanges": "0.0.0.0-255.255.255.255"}`),
			},
			"PermissionGroups", "authoritative domains",
		},
		{"T8 closed", exchange.Dump{ReceiveConnectors: receive(
			`{"RemoteIPRanges": "0.0.0.0-255.255.255.255"}`,
		),
			Permissions: []byte(
				`{"User": "S-1-5-7", "ExtendedRights": ["ms-Exch-SMTP-Accept-Authoritative-Domain-Sender"], "Deny": true}`,
			)}, "PermissionGroups", ""},
		{
			"T14 no send connector", exchange.Dump{AcceptedDomains: accepted(`{"DomainType": 1}`)},
			"DomainType", "no send connector leads",
		},
		{
			"T14 mail exchangers",
			exchange.Dump{
				AcceptedDomains: accepted(`{"DomainType": 2}`), SendConnectors: send(`{}`),
			},
			"DomainType", "loop",
		},
		{
			"T14 own send connector",
			exchange.Dump{
				AcceptedDomains: accepted(`{"DomainType": 2}`),
				SendConnectors:  send(`{"AddressSpaces": "contoso.com"}`),
			},
			"DomainType", "",
		},
		{
			"T17 usual for a relay domain",
			exchange.Dump{
				AcceptedDomains: accepted(`{"DomainType": 2, "AddressBookEnabled": false}`),
			},
			"AddressBookEnabled", "",
		},
		{
			"T17 lookup in a relay domain",
			exchange.Dump{AcceptedDomains: accepted(`{"DomainType": 2}`)}, "AddressBookEnabled",
			"passed on",
		},
		{
			"T19 no lookup",
			exchange.Dump{AcceptedDomains: accepted(`{"AddressBookEnabled": false}`)},
			"AddressBookEnabled", "bounced later",
		},
		{
			"T20 role",
			exchange.Dump{ReceiveConnectors: receive(`{"TransportRole": "HubTransport"}`)},
			"TransportRole", "port 25",
		},
		{
			"T20 role as a number",
			exchange.Dump{ReceiveConnectors: receive(`{"TransportRole": 32}`)}, "TransportRole",
			"port 25",
		},
		{
			"role behind a front end",
			exchange.Dump{
				ReceiveConnectors: receive(`{"TransportRole": 32, "Bindings": "0.0.0.0:2525"}`),
			},
			"TransportRole", "passes on",
		},
		{
			"T24 IPv6",
			exchange.Dump{
				ReceiveConnectors: receive(
					`{"Bindings": ["[::]:25", "0.0.0.0:25"], "RemoteIPRanges": ["0.0.0.0-255.255.255.255"]}`,
				),
			},
			"RemoteIPRanges", "IPv6",
		},
		{
			"T28 level without RequireTLS",
			exchange.Dump{SendConnectors: send(`{"TlsAuthLevel": 2}`)}, "TlsAuthLevel",
			"RequireTLS",
		},
		{
			"T28 level with RequireTLS",
			exchange.Dump{SendConnectors: send(`{"TlsAuthLevel": 2, "RequireTLS": true}`)},
			"TlsAuthLevel", "",
		},
		{
			"T28 no domain",
			exchange.Dump{
				SendConnectors: send(
					`{"TlsAuthLevel": "DomainValidation", "RequireTLS": true, "SmartHosts": ["mail.example.com"], "DNSRoutingEnabled": false}`,
				),
			},
			"TlsDomain", "missing",
		},
		{
			"T28 contradiction",
			exchange.Dump{SendConnectors: send(`{"RequireTLS": true, "IgnoreSTARTTLS": true}`)},
			"IgnoreSTARTTLS", "TLS is required",
		},
		{"T31 name of a server", exchange.Dump{ReceiveConnectors: []byte(`[` + string(
			receive(`{"AuthMechanism": "Tls, ExchangeServer", "Fqdn": "ex01.contoso.com"}`),
		) + `,` +
			string(
				receive(
					`{"Name": "B", "Bindings": ["0.0.0.0:26"], "AuthMechanism": "Tls, ExchangeServer", "Fqdn": "EX01"}`,
				),
			) + `]`)}, "Fqdn", "own name"},
		{
			"T41 several smart hosts",
			exchange.Dump{
				SendConnectors: send(
					`{"SmartHosts": ["a.example", "b.example"], "SmartHostAuthMechanism": 4}`,
				),
			},
			"SmartHostAuthMechanism", "own name",
		},
		{"partners", exchange.Dump{ReceiveConnectors: receive(`{"PermissionGroups": "Partners",
			"DomainSecureEnabled": true}`)}, "PermissionGroups", "partner:DOMAIN"},
		{"enabled or not", exchange.Dump{
			ReceiveConnectors: receive(`{"Enabled": null}`),
		}, "Enabled",
			"disabled"},
		{"TLS or not", exchange.Dump{
			ReceiveConnectors: receive(`{"RequireTLS": null}`),
		}, "RequireTLS",
			"required"},
		{"below the connector", exchange.Dump{ReceiveConnectors: receive(`{}`),
			Permissions: []byte(`{"User": "S-1-5-7", "ExtendedRights": "ms-Exch-SMTP-Accept-Any-Recipient",
			"Deny": false, "InheritanceType": "Descendents"}`)}, "Permissions", "below"},
		{
			"several servers",
			exchange.Dump{
				ReceiveConnectors: []byte(
					`[` + string(receive(`{}`)) + `,` + string(
						receive(`{"Server": "EX02", "Identity": "EX02\\Relay"}`),
					) + `]`,
				),
			},
			"Server", "choose",
		},
		{
			"unknown parameter", exchange.Dump{ReceiveConnectors: receive(`{"NewThing": 5}`)},
			"NewThing", "not known",
		},
		{
			"unknown parameter, off",
			exchange.Dump{ReceiveConnectors: receive(`{"NewThing": false}`)}, "NewThing", "",
		},
		{
			"implicit TLS",
			exchange.Dump{ReceiveConnectors: receive(`{"Bindings": "0.0.0.0:465"}`)}, "Bindings",
			"ImplicitTLS",
		},
		{
			"bad name", exchange.Dump{ReceiveConnectors: receive(`{"Fqdn": "my_server"}`)}, "Fqdn",
			"not a domain name",
		},
		{
			"bad banner", exchange.Dump{ReceiveConnectors: receive(`{"Banner": "220-no"}`)},
			"Banner", "left out",
		},
		{
			"every domain", exchange.Dump{AcceptedDomains: accepted(`{"DomainName": "*"}`)},
			"DomainName", "open relay",
		},
		{
			"two defaults",
			exchange.Dump{
				AcceptedDomains: []byte(
					`[` + string(accepted(`{"Default": true}`)) + `,` + string(
						accepted(`{"DomainName": "b.example", "Default": true}`),
					) + `]`,
				),
			},
			"Default", "another",
		},
		{
			"twice",
			exchange.Dump{
				AcceptedDomains: []byte(
					`[` + string(accepted(`{}`)) + `,` + string(accepted(`{}`)) + `]`,
				),
			},
			"Domain", "another entry",
		},
		{
			"edge space", exchange.Dump{SendConnectors: send(`{"AddressSpaces": ["SMTP:--;100"]}`)},
			"AddressSpaces", "accepted domains",
		},
		{
			"password",
			exchange.Dump{
				SendConnectors: send(
					`{"SmartHosts": "a.example", "SmartHostAuthMechanism": "BasicAuth"}`,
				),
			},
			"AuthenticationCredential", "no dump",
		},
		{
			"usual timeout",
			exchange.Dump{
				SendConnectors: send(`{"ConnectionInactivityTimeOut": {"Ticks": 6000000000}}`),
			},
			"ConnectionInactivityTimeOut", "",
		},
		{
			"other timeout",
			exchange.Dump{SendConnectors: send(`{"ConnectionInactivityTimeOut": "00:20:00"}`)},
			"ConnectionInactivityTimeOut", "no counterpart",
		},
		{"everybody", exchange.Dump{ReceiveConnectors: receive(`{}`),
			Permissions: []byte(`{"User": "Everyone", "ExtendedRights": "ms-Exch-SMTP-Submit",
			"Deny": false}`)}, "Permissions", "no kind of session"},
		{"all rights", exchange.Dump{ReceiveConnectors: receive(`{}`),
			Permissions: []byte(`{"User": "S-1-5-7", "ExtendedRights": null, "AccessRights": ["GenericAll"],
			"Deny": false}`)}, "Permissions", "by name"},
		{
			"inherited denial",
			exchange.Dump{
				ReceiveConnectors: receive(`{}`),
				Permissions: []byte(
					`{"User": "S-1-5-7", "ExtendedRights": "ms-Exch-SMTP-Submit", "Deny": true, "IsInherited": true}`,
				),
			},
			"Permissions", "inherited",
		},
		{"unknown right", exchange.Dump{ReceiveConnectors: receive(`{}`),
			Permissions: []byte(`{"User": "S-1-5-7", "ExtendedRights": "ms-Exch-SMTP-Accept-Exch50",
			"Deny": false}`)}, "Permissions", "no counterpart"},
		{"right of the directory", exchange.Dump{ReceiveConnectors: receive(`{}`),
			Permissions: []byte(`{"User": "S-1-5-7", "ExtendedRights": "Send-As", "Deny": false}`)},
			"Permissions", ""},
		{"other connector", exchange.Dump{ReceiveConnectors: receive(`{}`),
			Permissions: []byte(`{"Identity": "EX01\\Other", "User": "S-1-5-7",
			"ExtendedRights": "ms-Exch-SMTP-Submit", "Deny": false}`)}, "Identity", "no receive connector"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := mustRead(t, tt.dump)
			found := slices.ContainsFunc(r.Notes, func(n exchange.Note) bool {
				return strings.HasPrefix(n.Parameter, tt.parameter) &&
					strings.Contains(n.Reason, tt.want)
			})
			if found == (tt.want == "") {
				t.Errorf("notes: %v", r.Notes)
			}
		})
	}
}

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
			"ExtendedRights": {"RawIdentity": "ms-exch-accept-headers-routing"}, "Deny": false}`, nil},
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
			"SecurityIdentifier": {"Value": "S-1-5-21-1-2-3-1104"}}, "ExtendedRights": ` + relay + `,
			"Deny": true}`,
			[]connector.Grant{deny(connector.User(`CONTOSO\app`), connector.AcceptAnyRecipient),
				deny(connector.Group(`CONTOSO\app`), connector.AcceptAnyRecipient),
				deny(connector.Authenticated, connector.AcceptAnyRecipient)}},
		{"missing account denied", `{}`, `{"User": "S-1-5-21-1-2-3-1104", "ExtendedRights": ` + relay + `,
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
		{"every right denied to all", `{}`, `{"User": "S-1-1-0", "AccessRights": [983551], "Deny": true}`,
			[]connector.Grant{
				deny(connector.Anonymous, 1<<10-1), deny(connector.Authenticated, 1<<10-1),
			}},
		{"every right denied to a user", `{}`, `{"User": "CONTOSO\\app", "Sid": "S-1-5-21-1-2-3-1104",
			"AccessRights": "ReadProperty, ExtendedRight", "Deny": true}`,
			[]connector.Grant{deny(connector.User(`CONTOSO\app`), 1<<10-1),
				deny(
					connector.Group(`CONTOSO\app`), 1<<10-1,
				), deny(connector.Authenticated, 1<<10-1)}},
		{"below the connector", `{}`, `[{` + anonymous + `, "ExtendedRights": ` + relay + `,
			"Deny": false, "InheritanceType": 2},
			{` + anonymous + `, "ExtendedRights": ` + relay + `, "Deny": false,
				"InheritedObjectType": "user"}]`, nil},
		{"for the connector", `{}`, `{` + anonymous + `, "ExtendedRights": ` + relay + `, "Deny": false,
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
		{"no servers", `{}`, `[{"User": "CONTOSO\\Exchange Servers", "ExtendedRights": ` + relay + `,
			"Deny": false}, {"User": "S-1-5-21-1-2-3-500", "ExtendedRights": ` + relay + `, "Deny": false}]`,
			nil},
		{"externally secured", `{"AuthMechanism": "ExternalAuthoritative", "PermissionGroups": "ExchangeServers"}`,
			`[{"User": "MS Exchange\\Externally Secured Servers",
				"ExtendedRights": ["ms-Exch-Accept-Headers-Organization", ` + relay + `], "Deny": false},
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

// TestValues reads one parameter in the forms that it comes in.
func TestValues(t *testing.T) {
	for _, tt := range []struct {
		changes string
		get     func(*connector.Connector) any
		want    any
	}{
		{`{"MaxMessageSize": "36 MB (37,748,736 bytes)"}`, maxMessage, int64(37748736)},
		{`{"MaxMessageSize": "36 MB (37.748.736 Bytes)"}`, maxMessage, int64(37748736)},
		{`{"MaxMessageSize": "36 MB (37\u00a0748\u00a0736 octets)"}`, maxMessage, int64(37748736)},
		{`{"MaxMessageSize": 37748736}`, maxMessage, int64(37748736)},
		{`{"MaxMessageSize": "36MB"}`, maxMessage, int64(37748736)},
		{`{"maxmessagesize": {"Value": {"Value": 37748736}}}`, maxMessage, int64(37748736)},
		{`{"MaxMessageSize": "Unlimited"}`, maxMessage, int64(1<<31 - 1)},
		{`{"MaxLogonFailures": 0}`, func(c *connector.Connector) any {
			return c.Limits.MaxLogonFailures
		}, -1},
		{`{"MaxProtocolErrors": "0"}`, func(c *connector.Connector) any {
			return c.Limits.MaxProtocolErrors
		}, 1},
		{
			`{"MaxInboundConnection": {"IsUnlimited": true, "Value": 0}}`,
			func(c *connector.Connector) any { return c.Limits.MaxConnections }, -1,
		},
		{
			`{"MaxInboundConnection": {"IsUnlimited": false, "Value": 70}}`,
			func(c *connector.Connector) any { return c.Limits.MaxConnections }, 70,
		},
		{`{"TarpitInterval": "00:00:00"}`, tarpit, time.Duration(-1)},
		{`{"TarpitInterval": "00:00:02.5"}`, tarpit, 2500 * time.Millisecond},
		{`{"TarpitInterval": {"Ticks": 50000000}}`, tarpit, 5 * time.Second},
		{`{"ConnectionTimeout": "1.00:00:00"}`, func(c *connector.Connector) any {
			return c.Limits.ConnectionTimeout
		}, 24 * time.Hour},
		{`{"MessageRateSource": 3}`, func(c *connector.Connector) any {
			return c.Limits.MessageRateBy
		}, connector.RateByAll},
		{
			`{"AuthMechanism": 15}`, mechanisms,
			connector.TLS | connector.Integrated | connector.BasicAuth | connector.BasicAuthRequireTLS,
		},
		{
			`{"AuthMechanism": {"value": 5, "Value": "Tls, BasicAuth"}}`, mechanisms,
			connector.TLS | connector.BasicAuth,
		},
		{
			`{"AuthMechanism": ["Tls", "BasicAuth"]}`, mechanisms,
			connector.TLS | connector.BasicAuth,
		},
		{`{"AuthMechanism": 0}`, mechanisms, connector.NoAuth},
		{`{"PermissionGroups": 11}`, func(c *connector.Connector) any { return c.PermissionGroups },
			connector.AnonymousUsers | connector.ExchangeUsers | connector.ExchangeLegacyServers},
		{`{"Enabled": false}`, func(c *connector.Connector) any { return c.Disabled }, true},
		{`{"Bindings": "0.0.0.0:25 [::]:25"}`, bindings, "[0.0.0.0:25 [::]:25]"},
		{
			`{"Bindings": {"Address": {"IPAddressToString": "::"}, "Port": 25}}`, bindings,
			"[[::]:25]",
		},
		{
			`{"RemoteIPRanges": {"value": ["10.0.0.0(255.255.0.0)"], "Count": 1}}`, ranges,
			"[10.0.0.0/16]",
		},
		{
			`{"RemoteIPRanges": ["192.168.1.1/24", "10.0.0.1-10.0.0.9"]}`, ranges,
			"[192.168.1.0/24 10.0.0.1-10.0.0.9]",
		},
		{
			`{"RemoteIPRanges": {"LowerBound": {"Address": "10.0.0.1"}, "UpperBound": "10.0.0.9"}}`,
			ranges, "[10.0.0.1-10.0.0.9]",
		},
		{
			`{"SizeEnabled": "Disabled", "ChunkingEnabled": false, "BinaryMimeEnabled": true}`,
			func(c *connector.Connector) any { return fmt.Sprint(c.SuppressedKeywords) },
			"[CHUNKING BINARYMIME SIZE]",
		},
	} {
		r := mustRead(t, exchange.Dump{ReceiveConnectors: receive(tt.changes)})
		if got := tt.get(r.Connectors[0]); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.changes, got, tt.want)
		}
	}
}

func maxMessage(c *connector.Connector) any { return c.Limits.MaxMessageBytes }
func tarpit(c *connector.Connector) any     { return c.Limits.Tarpit }
func mechanisms(c *connector.Connector) any { return c.AuthMechanisms }
func bindings(c *connector.Connector) any   { return fmt.Sprint(c.Bindings) }
func ranges(c *connector.Connector) any     { return fmt.Sprint(c.RemoteIPRanges) }

// TestSend reads send connectors.
func TestSend(t *testing.T) {
	const credential = `"AuthenticationCredential": {"UserName": "u"}`
	const host = `"SmartHosts": ["smtp.example.com"], "DNSRoutingEnabled": false`
	for _, tt := range []struct {
		changes string
		want    connector.SendConnector
	}{
		{
			`{"RequireTLS": true}`,
			connector.SendConnector{NextHop: connector.NextHop{TLS: connector.TLSEncryptionOnly}},
		},
		{
			`{"IgnoreSTARTTLS": true}`,
			connector.SendConnector{NextHop: connector.NextHop{TLS: connector.TLSNone}},
		},
		{
			`{"RequireTLS": true, "TlsAuthLevel": 3}`,
			connector.SendConnector{NextHop: connector.NextHop{TLS: connector.TLSDomainValidation}},
		},
		{`{"TlsDomain": "mx.example.com"}`, connector.SendConnector{}},
		{`{"RequireTLS": true, "TlsAuthLevel": 3, "TlsDomain": {"Domain": "mx.example.com"}, ` +
			host + `}`,
			connector.SendConnector{
				NextHop: connector.NextHop{
					TLS: connector.TLSDomainValidation, TLSDomain: "mx.example.com",
					Hosts: []string{"smtp.example.com"},
				},
			}},
		{`{"SmartHostAuthMechanism": 4, "AuthenticationCredential": {"UserName": "u", "Password": "secret"}, ` + host + `}`,
			connector.SendConnector{
				NextHop: connector.NextHop{
					TLS: connector.TLSDomainValidation, TLSDomain: "smtp.example.com",
					Username: "u",
					Hosts:    []string{"smtp.example.com"},
				},
			}},
		{`{"SmartHostAuthMechanism": 2, ` + credential + `, ` + host + `}`,
			connector.SendConnector{
				NextHop: connector.NextHop{
					Username: "u", AllowUnverifiedAuth: true, Hosts: []string{"smtp.example.com"},
				},
			}},
		{`{"SmartHostAuthMechanism": 4, ` + credential + `, "SmartHosts": "a.example,b.example"}`,
			connector.SendConnector{
				NextHop: connector.NextHop{
					TLS: connector.TLSCertificateValidation, Username: "u",
					Hosts: []string{"a.example", "b.example"},
				},
			}},
		{
			`{"SmartHosts": "[192.0.2.1],[2001:db8::1]", "Port": 26}`,
			connector.SendConnector{
				NextHop: connector.NextHop{Hosts: []string{"192.0.2.1", "[2001:db8::1]"}, Port: 26},
			},
		},
		{`{"AddressSpaces": {"Type": "SMTP", "Domain": "bücher.example", "IncludeSubDomains": true, "Cost": 7}}`,
			connector.SendConnector{
				AddressSpaces: []connector.AddressSpace{
					{Domain: "*.xn--bcher-kva.example", Cost: 7},
				},
			}},
		{`{"AddressSpaces": "SMTP:a.example;2 SMTP:b.example;3"}`,
			connector.SendConnector{
				AddressSpaces: []connector.AddressSpace{
					{Domain: "a.example", Cost: 2}, {Domain: "b.example", Cost: 3},
				},
			}},
		{
			`{"MaxMessageSize": "Unlimited", "SmtpMaxMessagesPerConnection": 5, "Enabled": false}`,
			connector.SendConnector{
				NextHop: connector.NextHop{MessagesPerConnection: 5}, Disabled: true,
			},
		},
		{
			`{"MaxMessageSize": "10 MB (10,485,760 bytes)"}`,
			connector.SendConnector{MaxMessageBytes: 10 << 20},
		},
	} {
		r := mustRead(t, exchange.Dump{SendConnectors: send(tt.changes)})
		tt.want.Name = "Out"
		if tt.want.AddressSpaces == nil {
			tt.want.AddressSpaces = []connector.AddressSpace{{Domain: "*", Cost: 1}}
		}
		got, want := marshal(t, r.SendConnectors[0]), marshal(t, tt.want)
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.changes, got, want)
		}
		for _, n := range r.Notes {
			if strings.Contains(n.String(), "secret") {
				t.Errorf("a note shows the password: %v", n)
			}
		}
	}
}

// Exchange speaks to mail exchangers in its own network; the relay does so
// where told.
func TestSendToPrivateExchangers(t *testing.T) {
	for changes, want := range map[string]bool{
		`{"AddressSpaces": "SMTP:corp.example;1"}`:                               true,
		`{"AddressSpaces": "SMTP:corp.example;1", "SmartHosts": "smtp.example"}`: false,
		`{"AddressSpaces": "SMTP:*;1"}`:                                          false,
	} {
		r := mustRead(t, exchange.Dump{SendConnectors: send(changes)})
		told := false
		for _, n := range r.Notes {
			told = told || strings.Contains(n.String(), "AllowPrivateAddresses")
		}
		if told != want || r.SendConnectors[0].AllowPrivateAddresses {
			t.Errorf("%s: notes %v", changes, r.Notes)
		}
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestEncodings reads the files that PowerShell's ways of writing make.
func TestEncodings(t *testing.T) {
	text := string(accepted(`{"DomainName": "bücher.example", "Default": true}`))
	units := func(big bool, mark string) []byte {
		var b []byte
		for _, u := range utf16.Encode([]rune(mark + text)) {
			if big {
				b = append(b, byte(u>>8), byte(u))
			} else {
				b = append(b, byte(u), byte(u>>8))
			}
		}
		return b
	}
	for name, data := range map[string][]byte{
		"UTF-8": []byte(text), "UTF-8 with mark": []byte("\uFEFF" + text),
		"UTF-16": units(false, "\uFEFF"), "UTF-16 big": units(true, "\uFEFF"),
		"UTF-16 without mark": units(false, ""), "UTF-16 big without mark": units(true, ""),
	} {
		r := mustRead(t, exchange.Dump{AcceptedDomains: data})
		if len(r.AcceptedDomains) != 1 || r.AcceptedDomains[0].Domain != "bücher.example" ||
			r.DefaultDomain != "bücher.example" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	latin := bytes.ReplaceAll([]byte(text), []byte("ü"), []byte{0xFC})
	if _, err := exchange.Read(exchange.Dump{AcceptedDomains: latin}); err == nil ||
		!strings.Contains(err.Error(), "utf8") {
		t.Errorf("Latin-1: %v", err)
	}
}

// TestFaults reads dumps that are wrong: every fault is reported, with its
// place.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		dump exchange.Dump
		want []string
	}{
		{
			exchange.Dump{ReceiveConnectors: []byte(`{`), SendConnectors: []byte(`[] []`)},
			[]string{"ReceiveConnectors", "SendConnectors"},
		},
		{exchange.Dump{ReceiveConnectors: []byte(`["Relay"]`)}, []string{"ReceiveConnectors[0]"}},
		{
			exchange.Dump{ReceiveConnectors: []byte(`[{}]`)},
			[]string{
				"ReceiveConnectors[0].AuthMechanism", "ReceiveConnectors[0].Name",
				"ReceiveConnectors[0].PermissionGroups",
			},
		},
		{exchange.Dump{
			ReceiveConnectors: receive(
				`{"MaxHopCount": "many", "TarpitInterval": 5, "RequireTLS": "perhaps", "Bindings": ["25"], "RemoteIPRanges": ["10.0.0.9-10.0.0.1"], "AuthMechanism": 64}`,
			),
		},
			[]string{"ReceiveConnectors[0].AuthMechanism", "ReceiveConnectors[0].Bindings", "ReceiveConnectors[0].MaxHopCount",
				"ReceiveConnectors[0].RemoteIPRanges", "ReceiveConnectors[0].RequireTLS", "ReceiveConnectors[0].TarpitInterval"}},
		{exchange.Dump{
			ReceiveConnectors: receive(
				`{"RemoteIPRanges": ["10.0.0.0(255.0.255.0)"], "MaxHopCount": 99999999999, "ConnectionTimeout": "25:00:00"}`,
			),
		},
			[]string{
				"ReceiveConnectors[0].ConnectionTimeout", "ReceiveConnectors[0].MaxHopCount",
				"ReceiveConnectors[0].RemoteIPRanges",
			}},
		{
			exchange.Dump{
				ReceiveConnectors: receive(`{"Fqdn": [1], "PermissionGroups": "Friends"}`),
			},
			[]string{"ReceiveConnectors[0].Fqdn", "ReceiveConnectors[0].PermissionGroups"},
		},
		{exchange.Dump{ReceiveConnectors: receive(`{}`), Server: "EX09"}, []string{"Server"}},
		{exchange.Dump{
			AcceptedDomains: []byte(
				`[{"DomainType": 1}, {"DomainName": "a.example"}, {"DomainName": "b.example", "DomainType": 9}]`,
			),
		},
			[]string{
				"AcceptedDomains[0].DomainName", "AcceptedDomains[1].DomainType",
				"AcceptedDomains[2].DomainType",
			}},
		{exchange.Dump{
			SendConnectors: send(
				`{"AddressSpaces": ["SMTP:*contoso.com;1"], "Port": 99999, "SmartHosts": [3], "TlsAuthLevel": 7, "SmartHostAuthMechanism": 1}`,
			),
		},
			[]string{
				"SendConnectors[0].AddressSpaces", "SendConnectors[0].SmartHostAuthMechanism",
				"SendConnectors[0].SmartHosts", "SendConnectors[0].TlsAuthLevel",
			}},
		{
			exchange.Dump{
				ReceiveConnectors: []byte(
					`[` + string(receive(`{}`)) + `,` + string(receive(`{"Name": "B"}`)) + `]`,
				),
				Permissions: []byte(anyRecipient),
			},
			[]string{"Permissions[0].Identity"},
		},
		{
			exchange.Dump{
				ReceiveConnectors: receive(`{}`),
				Permissions:       []byte(`{"ExtendedRights": "ms-Exch-SMTP-Submit"}`),
			},
			[]string{"Permissions[0].User"},
		},
		{
			exchange.Dump{AcceptedDomains: append(bytes.Repeat([]byte(" "), 32<<20), '1')},
			[]string{"AcceptedDomains"},
		},
		{exchange.Dump{
			ReceiveConnectors: receive(`{"RemoteIPRanges": ["10.0.0.1", "fe80::1%11"]}`),
		},
			[]string{"ReceiveConnectors[0].RemoteIPRanges"}},
		{exchange.Dump{
			ReceiveConnectors: receive(`{"PermissionGroups": "AnonymousUsers, Custom"}`),
		},
			[]string{"ReceiveConnectors[0].PermissionGroups"}},
		{exchange.Dump{ReceiveConnectors: receive(`{"PermissionGroups": 33}`),
			Permissions: []byte(`{"Identity": "EX02\\Other", "User": "S-1-5-7",
			"ExtendedRights": "ms-Exch-SMTP-Submit", "Deny": true}`)},
			[]string{"ReceiveConnectors[0].PermissionGroups"}},
		{exchange.Dump{ReceiveConnectors: receive(`{"PermissionGroups": 33}`),
			Permissions: []byte(`{"User": "CONTOSO\\Domain Admins", "AccessRights": ["GenericAll"],
				"Deny": false}`)},
			[]string{"ReceiveConnectors[0].PermissionGroups"}},
		{exchange.Dump{AcceptedDomains: accepted(`{"DomainName": "a..example"}`)},
			[]string{"AcceptedDomains[0].DomainName"}},
		{exchange.Dump{
			AcceptedDomains: []byte(`{"DomainName": "a.example", "DomainName": "b.example"}`),
		},
			[]string{"AcceptedDomains"}},
		{exchange.Dump{AcceptedDomains: []byte(`{"DomainName": "a.example", "DomainType": 0,
			"domainname": "b.example"}`)}, []string{"AcceptedDomains[0].domainname"}},
		{exchange.Dump{AcceptedDomains: []byte(strings.Repeat("[", 30<<20))},
			[]string{"AcceptedDomains"}},
	} {
		r, err := exchange.Read(tt.dump)
		list, ok := err.(interface{ Unwrap() []error })
		if !ok || r != nil {
			t.Errorf("%s: no faults: %v", tt.want, err)
			continue
		}
		var got []string
		for _, err := range list.Unwrap() {
			e, ok := errors.AsType[*postern.FieldError](err)
			if !ok {
				t.Fatalf("%v is no FieldError", err)
			}
			got = append(got, e.Field)
		}
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("got %q, want %q\n%v", got, tt.want, err)
		}
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
			{"User": "CONTOSO\\Exchange Servers", ` + relay + `"Deny": false}]`, "User", "FABRIKAM"},
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
			"ExtendedRights": ["ab721a53-1e2f-11d0-9819-00aa0040529b"], "Deny": true}`, "ExtendedRights",
			"name of no right"},
		{"denied by another name", `{"User": "S-1-5-7",
			"ExtendedRights": ["Submit Messages to any Recipient"], "Deny": true}`, "ExtendedRights",
			"name of no right"},
		{"denied and cut off", `{"User": "S-1-5-7", "ExtendedRights": ["ms-Exch-SMTP-Accept-Any-Recip"],
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

// TestOtherServer keeps permissions of a server that is not wanted from those
// of one that is.
func TestOtherServer(t *testing.T) {
	d := exchange.Dump{Server: "EX01",
		ReceiveConnectors: []byte(`[` + string(receive(`{}`)) + `,` + string(receive(`{"Server": "EX02",
		"Identity": "EX02\\Relay"}`)) + `]`)}
	for _, identity := range []string{``, `"Identity": "Relay", `} {
		d.Permissions = []byte(`{` + identity + `"User": "S-1-5-7",
			"ExtendedRights": "ms-Exch-SMTP-Accept-Any-Recipient", "Deny": false}`)
		if _, err := exchange.Read(d); err == nil {
			t.Errorf("%q: it may be about either", identity)
		}
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

// TestManyFaults bounds the report of a dump of something else.
func TestManyFaults(t *testing.T) {
	_, err := exchange.Read(
		exchange.Dump{SendConnectors: []byte(`[` + strings.Repeat(`1,`, 5000) + `1]`)},
	)
	if err == nil || strings.Count(err.Error(), "\n") != 100 {
		t.Errorf("%v", err)
	}
}

// TestCutOff points at -Depth.
func TestCutOff(t *testing.T) {
	for _, v := range []string{
		"@{Address=0.0.0.0; Port=25}", "System.Object[]", "Microsoft.Exchange.Data.IPBinding",
	} {
		_, err := exchange.Read(
			exchange.Dump{ReceiveConnectors: receive(`{"Bindings": [` + marshal(t, v) + `]}`)},
		)
		if err == nil || !strings.Contains(err.Error(), "-Depth") {
			t.Errorf("%s: %v", v, err)
		}
	}
}

// TestServer keeps the connectors of one server, and tells those of several
// apart.
func TestServer(t *testing.T) {
	d := exchange.Dump{ReceiveConnectors: []byte(`[` + string(receive(`{}`)) + `,` +
		string(
			receive(
				`{"Server": {"Name": "EX02"}, "Identity": {"DistinguishedName": "CN=Relay,CN=EX02", "Name": "Relay"}, "DistinguishedName": "CN=Relay,CN=EX02"}`,
			),
		) + `]`),
		Permissions: []byte(`[{"Identity": "EX02\\Relay", "User": "S-1-5-7",
			"ExtendedRights": "ms-Exch-SMTP-Accept-Any-Recipient", "Deny": false},
			{"Identity": {"DistinguishedName": "CN=Relay,CN=EX02"}, "User": "S-1-5-7",
				"ExtendedRights": "ms-Exch-Bypass-Anti-Spam", "Deny": false}]`)}
	r := mustRead(t, d)
	if len(r.Connectors) != 2 || r.Connectors[0].Name != "Relay" ||
		r.Connectors[1].Name != `EX02\Relay` ||
		len(r.Connectors[0].Grants) != 0 ||
		r.Connectors[1].Grants[0].Rights != connector.AcceptAnyRecipient|connector.BypassAntiSpam {
		t.Errorf("%s", marshal(t, r.Connectors))
	}
	d.Server = "ex01"
	if r = mustRead(t, d); len(r.Connectors) != 1 || r.Connectors[0].Name != "Relay" ||
		len(r.Connectors[0].Grants) != 0 {
		t.Errorf("%s", marshal(t, r.Connectors))
	}
}

// TestEmpty reads parts that are missing, empty or null.
func TestEmpty(t *testing.T) {
	for _, d := range []exchange.Dump{
		{},
		{
			ReceiveConnectors: []byte{}, SendConnectors: []byte("null"),
			AcceptedDomains: []byte(" \r\n"), Permissions: []byte("[]"),
		},
	} {
		if r := mustRead(t, d); marshal(t, r) != marshal(t, &exchange.Result{}) {
			t.Errorf("%+v", r)
		}
	}
}

// TestOneLine keeps what a dump holds from breaking the line of a note.
func TestOneLine(t *testing.T) {
	r := mustRead(
		t,
		exchange.Dump{
			SendConnectors: send(
				`{"Name": "a\nb = 1\u2028c", "Surprise": "x\r\ny", "Sur\nprise": 1}`,
			),
		},
	)
	for _, n := range r.Notes {
		if strings.ContainsAny(n.String(), "\r\n\u2028") {
			t.Errorf("%q", n)
		}
	}
}

func FuzzRead(f *testing.F) {
	// Small seeds: the fuzzer is slow to make large ones smaller.
	f.Add(receive(`{}`), accepted(`{}`), send(`{}`), []byte(anyRecipient))
	f.Add(receive(
		`{"AuthMechanism": 31, "PermissionGroups": 63, "Fqdn": {"Domain": "a.b"}, "TarpitInterval": {"Ticks": 1}, "MaxInboundConnection": {"IsUnlimited": true}}`,
	),
		accepted(
			`{"DomainName": {"Domain": "a.b", "IncludeSubDomains": true}, "DomainType": 2, "Default": true}`,
		),
		send(
			`{"AddressSpaces": {"Type": "SMTP", "Domain": "a.b", "Cost": 1}, "SmartHosts": {"Address": {"IPAddressToString": "::1"}}, "SmartHostAuthMechanism": 4}`,
		),
		[]byte(
			`{"User": {"RawIdentity": "A\\b"}, "ExtendedRights": null, "AccessRights": "GenericAll", "Deny": true, "IsInherited": true}`,
		))
	f.Add(receive(
		`{"AuthMechanism": 32, "PermissionGroups": 4, "Bindings": {"Address": "::", "Port": 25}, "RemoteIPRanges": "1.2.3.4(255.0.0.0)", "MaxMessageSize": "1 KB (1,024 bytes)"}`,
	),
		[]byte("\uFEFF[]"), send(`{"AddressSpaces": "X400:c=US;a= ;p=C;1"}`),
		[]byte(
			`{"User": "MS Exchange\\Externally Secured Servers", "ExtendedRights": {"RawIdentity": "ms-Exch-SMTP-Submit"}}`,
		))
	f.Add(
		[]byte("\xFF\xFE{\x00"), []byte(`{"value":[],"Count":0}`), []byte(`{"Name":{"Name":{}}}`),
		[]byte(`[[]]`),
	)
	f.Fuzz(func(t *testing.T, receive, accepted, send, permissions []byte) {
		d := exchange.Dump{
			ReceiveConnectors: receive, AcceptedDomains: accepted, SendConnectors: send,
			Permissions: permissions,
		}
		r, err := exchange.Read(d)
		if err != nil {
			return
		}
		for _, n := range r.Notes {
			if strings.ContainsAny(n.String(), "\r\n") {
				t.Fatalf("%q", n)
			}
		}
		for _, c := range r.Connectors {
			if c.OpenRelay {
				t.Fatal("an open relay is confirmed")
			}
		}
		for _, d := range r.AcceptedDomains {
			if d.Type == domains.Authoritative && d.Recipients != nil {
				t.Fatal("recipients from nowhere")
			}
		}
		if again, err := exchange.Read(d); err != nil ||
			fmt.Sprint(again.Notes) != fmt.Sprint(r.Notes) {
			t.Fatalf("another result: %v\n%v\n%v", err, r.Notes, again)
		}
	})
}
