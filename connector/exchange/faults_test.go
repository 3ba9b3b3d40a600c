package exchange_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector/exchange"
)

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
				`{"MaxHopCount": "many", "TarpitInterval": 5, "RequireTLS": "perhaps", ` +
					`"Bindings": ["25"], "RemoteIPRanges": ["10.0.0.9-10.0.0.1"], ` +
					`"AuthMechanism": 64}`,
			),
		},
			[]string{
				"ReceiveConnectors[0].AuthMechanism", "ReceiveConnectors[0].Bindings",
				"ReceiveConnectors[0].MaxHopCount", "ReceiveConnectors[0].RemoteIPRanges",
				"ReceiveConnectors[0].RequireTLS", "ReceiveConnectors[0].TarpitInterval",
			}},
		{exchange.Dump{
			ReceiveConnectors: receive(
				`{"RemoteIPRanges": ["10.0.0.0(255.0.255.0)"], "MaxHopCount": 99999999999, ` +
					`"ConnectionTimeout": "25:00:00"}`,
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
				`[{"DomainType": 1}, {"DomainName": "a.example"}, {"DomainName": "b.example", ` +
					`"DomainType": 9}]`,
			),
		},
			[]string{
				"AcceptedDomains[0].DomainName", "AcceptedDomains[1].DomainType",
				"AcceptedDomains[2].DomainType",
			}},
		{exchange.Dump{
			SendConnectors: send(
				`{"AddressSpaces": ["SMTP:*contoso.com;1"], "Port": 99999, "SmartHosts": [3], ` +
					`"TlsAuthLevel": 7, "SmartHostAuthMechanism": 1}`,
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
