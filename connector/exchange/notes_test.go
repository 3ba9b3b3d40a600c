package exchange_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector/exchange"
)

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
					`{"AuthMechanism": "ExternalAuthoritative", "PermissionGroups": ` +
						`"ExchangeServers"}`,
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
				`{"User": "S-1-5-7", "ExtendedRights": ` +
					`["ms-Exch-SMTP-Accept-Authoritative-Domain-Sender"], "Deny": true}`,
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
					`{"Bindings": ["[::]:25", "0.0.0.0:25"], "RemoteIPRanges": ` +
						`["0.0.0.0-255.255.255.255"]}`,
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
					`{"TlsAuthLevel": "DomainValidation", "RequireTLS": true, "SmartHosts": ` +
						`["mail.example.com"], "DNSRoutingEnabled": false}`,
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
					`{"Name": "B", "Bindings": ["0.0.0.0:26"], "AuthMechanism": "Tls, `+
						`ExchangeServer", "Fqdn": "EX01"}`,
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
			Permissions: []byte(`{"User": "S-1-5-7",
				"ExtendedRights": "ms-Exch-SMTP-Accept-Any-Recipient",
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
		{"everybody", exchange.Dump{ReceiveConnectors: receive(`{}`),
			Permissions: []byte(`{"User": "Everyone", "ExtendedRights": "ms-Exch-SMTP-Submit",
			"Deny": false}`)}, "Permissions", "no kind of session"},
		{"all rights", exchange.Dump{ReceiveConnectors: receive(`{}`),
			Permissions: []byte(`{"User": "S-1-5-7", "ExtendedRights": null,
				"AccessRights": ["GenericAll"],
			"Deny": false}`)}, "Permissions", "by name"},
		{
			"inherited denial",
			exchange.Dump{
				ReceiveConnectors: receive(`{}`),
				Permissions: []byte(
					`{"User": "S-1-5-7", "ExtendedRights": "ms-Exch-SMTP-Submit", "Deny": ` +
						`true, "IsInherited": true}`,
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
			"ExtendedRights": "ms-Exch-SMTP-Submit", "Deny": false}`)}, "Identity",
			"no receive connector"},
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
