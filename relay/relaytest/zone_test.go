package relaytest_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/relaytest"
)

func ExampleZone() {
	dns := relaytest.NewZone().
		MX("example.net", 10, "mx.example.net").
		Host("mx.example.net", "192.0.2.1", "2001:db8::1").
		Fail("broken.example", "server misbehaving")

	mx, _ := dns.LookupMX(context.Background(), "Example.NET")
	first := mx.Records[0]
	addresses, _ := dns.LookupNetIP(context.Background(), "ip6", first.Host)
	fmt.Println(first.Pref, first.Host, addresses.Records)
	_, err := dns.LookupMX(context.Background(), "broken.example")
	fmt.Println(err)
	_, err = dns.LookupMX(context.Background(), "elsewhere.example")
	fmt.Println(err)
	// Output:
	// 10 mx.example.net [2001:db8::1]
	// lookup broken.example: server misbehaving
	// lookup elsewhere.example: no such name
}

// A signed domain, with what its host's certificate must be.
func ExampleZone_Sign() {
	dns := relaytest.NewZone().
		MX("example.net", 10, "mx.example.net").
		TLSA("_25._tcp.mx.example.net", delivery.TLSA{Usage: 3, Selector: 1, MatchingType: 1}).
		Sign("example.net").
		Host("mx.example.net", "192.0.2.1").
		Alias("mail.example.org", "mx.example.net")

	tlsa, _ := dns.LookupTLSA(context.Background(), "_25._tcp.mx.example.net")
	fmt.Println(tlsa.Records[0].Usage, tlsa.Authentic)
	alias, err := dns.LookupNetIP(context.Background(), "ip", "mail.example.org")
	fmt.Println(alias.Name, alias.Authentic, err)
	// Output:
	// 3 true
	// mx.example.net false <nil>
}

func TestZoneTellsAbsenceApart(t *testing.T) {
	dns := relaytest.NewZone().
		Host("host.example", "192.0.2.1").TXT("host.example", "v=spf1 -all").
		PTR("192.0.2.1", "host.example").
		Alias("a.example", "b.example").Alias("b.example", "A.example").
		Alias("gone.example", "nowhere.example").
		Fail("slow.example", "no answer").Alias("to-slow.example", "slow.example")
	ask := func(name string) error {
		_, err := dns.LookupMX(t.Context(), name)
		return err
	}
	for name, want := range map[string]error{
		"host.example": delivery.ErrNoRecords, "other.example": delivery.ErrNoName,
		"gone.example": delivery.ErrNoName, "a.example": nil, "slow.example": nil,
		"to-slow.example": nil,
	} {
		err := ask(name)
		if want == nil && (err == nil || delivery.IsNotFound(err)) ||
			want != nil && (!errors.Is(err, want) || !delivery.IsNotFound(err)) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	dns.Fail("slow.example", "")
	if err := ask("slow.example"); !errors.Is(err, delivery.ErrNoName) {
		t.Errorf("mended: %v", err)
	}
	txt, err := dns.LookupTXT(t.Context(), "host.example")
	if err != nil || txt.Records[0] != "v=spf1 -all" {
		t.Errorf("%+v, %v", txt, err)
	}
	ptr, err := dns.LookupPTR(t.Context(), netip.MustParseAddr("::ffff:192.0.2.1"))
	if err != nil || ptr.Records[0] != "host.example" || ptr.Authentic {
		t.Errorf("%+v, %v", ptr, err)
	}
}
