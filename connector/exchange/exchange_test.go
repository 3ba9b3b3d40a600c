package exchange_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

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

// TestOtherServer keeps permissions of a server that is not wanted from those
// of one that is.
func TestOtherServer(t *testing.T) {
	d := exchange.Dump{Server: "EX01",
		ReceiveConnectors: []byte(`[` + string(receive(`{}`)) + `,` +
			string(receive(`{"Server": "EX02",
		"Identity": "EX02\\Relay"}`)) + `]`)}
	for _, identity := range []string{``, `"Identity": "Relay", `} {
		d.Permissions = []byte(`{` + identity + `"User": "S-1-5-7",
			"ExtendedRights": "ms-Exch-SMTP-Accept-Any-Recipient", "Deny": false}`)
		if _, err := exchange.Read(d); err == nil {
			t.Errorf("%q: it may be about either", identity)
		}
	}
}

// TestServer keeps the connectors of one server, and tells those of several
// apart.
func TestServer(t *testing.T) {
	d := exchange.Dump{ReceiveConnectors: []byte(`[` + string(receive(`{}`)) + `,` +
		string(
			receive(
				`{"Server": {"Name": "EX02"}, "Identity": {"DistinguishedName": `+
					`"CN=Relay,CN=EX02", "Name": "Relay"}, "DistinguishedName": `+
					`"CN=Relay,CN=EX02"}`,
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

func FuzzRead(f *testing.F) {
	// Small seeds: the fuzzer is slow to make large ones smaller.
	f.Add(receive(`{}`), accepted(`{}`), send(`{}`), []byte(anyRecipient))
	f.Add(receive(
		`{"AuthMechanism": 31, "PermissionGroups": 63, "Fqdn": {"Domain": "a.b"}, `+
			`"TarpitInterval": {"Ticks": 1}, "MaxInboundConnection": {"IsUnlimited": true}}`,
	),
		accepted(
			`{"DomainName": {"Domain": "a.b", "IncludeSubDomains": true}, "DomainType": 2, `+
				`"Default": true}`,
		),
		send(
			`{"AddressSpaces": {"Type": "SMTP", "Domain": "a.b", "Cost": 1}, "SmartHosts": `+
				`{"Address": {"IPAddressToString": "::1"}}, "SmartHostAuthMechanism": 4}`,
		),
		[]byte(
			`{"User": {"RawIdentity": "A\\b"}, "ExtendedRights": null, "AccessRights": `+
				`"GenericAll", "Deny": true, "IsInherited": true}`,
		))
	f.Add(receive(
		`{"AuthMechanism": 32, "PermissionGroups": 4, "Bindings": {"Address": "::", "Port": `+
			`25}, "RemoteIPRanges": "1.2.3.4(255.0.0.0)", "MaxMessageSize": "1 KB (1,024 bytes)"}`,
	),
		[]byte("\uFEFF[]"), send(`{"AddressSpaces": "X400:c=US;a= ;p=C;1"}`),
		[]byte(
			`{"User": "MS Exchange\\Externally Secured Servers", "ExtendedRights": `+
				`{"RawIdentity": "ms-Exch-SMTP-Submit"}}`,
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
