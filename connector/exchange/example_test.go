package exchange_test

import (
	"errors"
	"fmt"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/connector/exchange"
)

func ExampleRead() {
	result, err := exchange.Read(exchange.Dump{
		ReceiveConnectors: []byte(`{
			"Name": "Relay", "Identity": "EX01\\Relay", "TransportRole": "FrontendTransport",
			"AuthMechanism": "Tls, Integrated", "PermissionGroups": "AnonymousUsers, Custom",
				"Enabled": true, "RequireTLS": false,
			"Bindings": ["0.0.0.0:25"], "RemoteIPRanges": ["10.0.5.0/24"],
			"MaxMessageSize": "36 MB (37,748,736 bytes)", "TarpitInterval": "00:00:00"
		}`),
		Permissions: []byte(`{
			"Identity": "EX01\\Relay", "User": "NT AUTHORITY\\ANONYMOUS LOGON",
			"ExtendedRights": ["ms-Exch-SMTP-Accept-Any-Recipient"], "Deny": false
		}`),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	c := result.Connectors[0]
	fmt.Println(c.Name, c.Bindings, c.RemoteIPRanges, c.PermissionGroups)
	fmt.Println(c.Rights(connector.Subject{}).Has(connector.AcceptAnyRecipient))
	for _, n := range result.Notes {
		fmt.Println(n)
	}
	// Output:
	// Relay [0.0.0.0:25] [10.0.5.0/24] AnonymousUsers
	// true
	// receive connector Relay: AuthMechanism = Integrated: NTLM and Kerberos are not offered; users need BasicAuth inside TLS
}

func ExampleRead_faults() {
	_, err := exchange.Read(exchange.Dump{
		AcceptedDomains: []byte(`[{"DomainName": "contoso.com", "DomainType": "Shared"}]`),
		SendConnectors: []byte(
			`[{"Name": "Out", "AddressSpaces": ["SMTP:*;1"], "RequireTLS": "perhaps"}]`,
		),
	})
	fmt.Println(err)
	e, _ := errors.AsType[*postern.FieldError](err)
	fmt.Println(e.Field)
	// Output:
	// AcceptedDomains[0].DomainType: domains: unknown type "Shared"; it is Authoritative, InternalRelay or ExternalRelay
	// SendConnectors[0].RequireTLS: "perhaps" is not true or false
	// AcceptedDomains[0].DomainType
}

func ExampleNote() {
	fmt.Println(exchange.Note{
		Object: "send connector Out", Parameter: "ForceHELO", Value: "true",
		Reason: "EHLO is always tried",
	})
	// Output: send connector Out: ForceHELO = true: EHLO is always tried
}
