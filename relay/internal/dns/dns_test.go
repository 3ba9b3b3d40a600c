package dns_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/postern-mail/postern/relay/delivery"
)

func TestRecordsOfEveryKind(t *testing.T) {
	s := fixed(t, map[string][]string{
		"example.org. MX": {
			"example.org. 60 MX 20 b.example.org.", "example.org. 60 MX 10 a.example.org.",
		},
		"a.example.org. A": {
			"a.example.org. 60 A 192.0.2.1", "a.example.org. 60 A 192.0.2.2",
		},
		"a.example.org. AAAA":         {"a.example.org. 60 AAAA 2001:db8::1"},
		"example.org. TXT":            {`example.org. 60 TXT "v=spf1 " "-all; \"q\" \\ \228"`},
		"1.2.0.192.in-addr.arpa. PTR": {"1.2.0.192.in-addr.arpa. 60 PTR A.Example.org."},
		"_25._tcp.a.example.org. TLSA": {
			"_25._tcp.a.example.org. 60 TLSA 3 1 1 " + strings.Repeat("ab", 32),
		},
	})
	r, ctx := ask(t, s), t.Context()
	mx, err := r.LookupMX(ctx, "Example.ORG")
	if err != nil || len(mx.Records) != 2 || mx.Records[0].Host != "a.example.org." ||
		mx.Records[0].Pref != 10 || mx.Name != "example.org" {
		t.Errorf("MX %+v, %v", mx, err)
	}
	for network, want := range map[string]string{
		"ip": "[192.0.2.1 192.0.2.2 2001:db8::1]", "ip4": "[192.0.2.1 192.0.2.2]",
		"ip6": "[2001:db8::1]",
	} {
		a, err := r.LookupNetIP(ctx, network, "a.example.org")
		if err != nil || fmt.Sprint(a.Records) != want {
			t.Errorf("%s: %+v, %v", network, a, err)
		}
	}
	txt, err := r.LookupTXT(ctx, "example.org.")
	if err != nil || len(txt.Records) != 1 || txt.Records[0] != "v=spf1 -all; \"q\" \\ \xe4" {
		t.Errorf("TXT %q, %v", txt.Records, err)
	}
	ptr, err := r.LookupPTR(ctx, netip.MustParseAddr("::ffff:192.0.2.1"))
	if err != nil || fmt.Sprint(ptr.Records) != "[A.Example.org]" {
		t.Errorf("PTR %+v, %v", ptr, err)
	}
	tlsa, err := r.LookupTLSA(ctx, "_25._tcp.a.example.org")
	if err != nil || len(tlsa.Records) != 1 || tlsa.Records[0].Usage != 3 ||
		hex.EncodeToString(tlsa.Records[0].Data) != strings.Repeat("ab", 32) {
		t.Errorf("TLSA %+v, %v", tlsa, err)
	}
}

func TestQuestionsAskForDNSSEC(t *testing.T) {
	r := ask(t, newServer(t, func(_ string, query *miekg.Msg) [][]byte {
		opt := query.IsEdns0()
		if opt == nil || !opt.Do() || opt.UDPSize() != 1232 || !query.AuthenticatedData ||
			!query.RecursionDesired || query.CheckingDisabled {
			t.Errorf("query %v", query)
		}
		return [][]byte{says(t, query, miekg.RcodeSuccess, "example.org. 60 TXT a")}
	}))
	if _, err := r.LookupTXT(t.Context(), "example.org"); err != nil {
		t.Error(err)
	}
}

// Absence is told apart: of the name, of the records, and nothing known.
func TestAbsenceIsToldApart(t *testing.T) {
	const soa = "example.org. 60 SOA a.example.org. b.example.org. 1 1 1 1 60"
	for name, test := range map[string]struct {
		rcode   int
		records []string
		want    error // nil: nothing is known
		end     string
	}{
		"no such name": {
			miekg.RcodeNameError, []string{soa}, delivery.ErrNoName, "a.example.org",
		},
		"no SOA either": {miekg.RcodeNameError, nil, delivery.ErrNoName, "a.example.org"},
		"no such records": {
			miekg.RcodeSuccess, []string{soa}, delivery.ErrNoRecords, "a.example.org",
		},
		"nothing at all": {miekg.RcodeSuccess, nil, delivery.ErrNoRecords, "a.example.org"},
		"alias to no name": {
			miekg.RcodeNameError, []string{"a.example.org. 60 CNAME B.example.org.", soa},
			delivery.ErrNoName, "b.example.org",
		},
		"alias to no records": {
			miekg.RcodeSuccess, []string{"a.example.org. 60 CNAME b.example.org.", soa},
			delivery.ErrNoRecords, "b.example.org",
		},
		"failure": {miekg.RcodeServerFailure, nil, nil, "a.example.org"},
		"refused": {miekg.RcodeRefused, nil, nil, "a.example.org"},
		"records of another name": {
			miekg.RcodeSuccess, []string{"c.example.org. 60 MX 1 d.example.org."},
			delivery.ErrNoRecords, "a.example.org",
		},
		"records of another type": {
			miekg.RcodeSuccess, []string{"a.example.org. 60 A 192.0.2.1"},
			delivery.ErrNoRecords, "a.example.org",
		},
		"records of another class": {
			miekg.RcodeSuccess, []string{"a.example.org. 60 CH TXT x"},
			delivery.ErrNoRecords, "a.example.org",
		},
		"alias loop": {
			miekg.RcodeSuccess,
			[]string{
				"a.example.org. 60 CNAME b.example.org.", "b.example.org. 60 CNAME a.example.org.",
			},
			nil, "a.example.org",
		},
		"malformed names alone": {
			miekg.RcodeSuccess, []string{`a.example.org. 60 MX 1 b\032c.example.org.`}, nil,
			"a.example.org",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := ask(t, newServer(t, func(_ string, query *miekg.Msg) [][]byte {
				return [][]byte{says(t, query, test.rcode, test.records...)}
			}))
			a, err := r.LookupMX(t.Context(), "a.example.org")
			if err == nil || len(a.Records) > 0 || delivery.IsNotFound(err) != (test.want != nil) ||
				test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%+v, %v, want %v", a, err, test.want)
			}
			if a.Name != test.end {
				t.Errorf("ends at %s, want %s", a.Name, test.end)
			}
		})
	}
}

// One family without an answer is not absence of the other.
func TestUnknownHostNeedsBothFamilies(t *testing.T) {
	for kind, other := range map[uint16]string{miekg.TypeA: "AAAA", miekg.TypeAAAA: "A"} {
		r := ask(t, newServer(t, func(_ string, query *miekg.Msg) [][]byte {
			if query.Question[0].Qtype == kind {
				return [][]byte{says(t, query, miekg.RcodeServerFailure)}
			}
			return [][]byte{says(t, query, miekg.RcodeNameError)}
		}))
		a, err := r.LookupNetIP(t.Context(), "ip", "a.example.org")
		if err == nil || delivery.IsNotFound(err) || len(a.Records) > 0 {
			t.Errorf("%s not found: %+v, %v", other, a, err)
		}
	}
}

// An alias is followed beyond what the server says of it.
func TestAliasIsFollowed(t *testing.T) {
	zone := map[string][]string{
		"a.example. TXT": {"a.example. 60 CNAME b.example.", "b.example. 60 CNAME c.example."},
		"c.example. TXT": {"c.example. 60 TXT here"},
	}
	last := "x0"
	for i := range 20 {
		next := fmt.Sprintf("x%d", i+1)
		zone[last+".example. TXT"] = []string{last + ".example. 60 CNAME " + next + ".example."}
		last = next
	}
	r := ask(t, fixed(t, zone))
	a, err := r.LookupTXT(t.Context(), "a.example")
	if err != nil || a.Name != "c.example" || fmt.Sprint(a.Records) != "[here]" {
		t.Errorf("%+v, %v", a, err)
	}
	a, err = r.LookupTXT(t.Context(), "x0.example")
	if err == nil || delivery.IsNotFound(err) {
		t.Errorf("20 aliases: %+v, %v", a, err)
	}
}

// What can be read is used, with an error beside it, and of too many records
// the best.
func TestExchangersThatCannotBeMeant(t *testing.T) {
	r := ask(t, newServer(t, func(network string, query *miekg.Msg) [][]byte {
		list := []string{
			`example.org. 60 MX 1 b\032c.example.org.`, `example.org. 60 MX 2 a\000.example.org.`,
			`example.org. 60 MX 3 under_score.example.org.`,
		}
		if query.Question[0].Name == "many.example.org." {
			list = nil
			for i := range 2000 {
				list = append(
					list, fmt.Sprintf("many.example.org. 60 MX %d h%d.example.", 2000-i, i),
				)
			}
		}
		b := says(t, query, miekg.RcodeSuccess, list...)
		if network == "udp" && len(b) > 1232 {
			m := new(miekg.Msg)
			m.SetReply(query)
			m.Truncated = true
			return [][]byte{pack(t, m)}
		}
		return [][]byte{b}
	}))
	a, err := r.LookupMX(t.Context(), "example.org")
	if err == nil || len(a.Records) != 1 || a.Records[0].Host != "under_score.example.org." {
		t.Errorf("%+v, %v", a, err)
	}
	a, err = r.LookupMX(t.Context(), "many.example.org")
	if err != nil || len(a.Records) != 64 || a.Records[0].Pref != 1 || a.Records[63].Pref != 64 {
		t.Errorf("%d records, %v", len(a.Records), err)
	}
}

func TestNullMX(t *testing.T) {
	r := ask(t, fixed(t, map[string][]string{"example.org. MX": {"example.org. 60 MX 0 ."}}))
	a, err := r.LookupMX(t.Context(), "example.org")
	if err != nil || len(a.Records) != 1 || a.Records[0].Host != "." {
		t.Errorf("%+v, %v", a, err)
	}
}

// Names that no record can have are not asked for, and U-labels by their
// A-labels.
func TestNames(t *testing.T) {
	s := fixed(
		t, map[string][]string{"xn--exmple-cua.org. MX": {"xn--exmple-cua.org. 60 MX 1 a.org."}},
	)
	r := ask(t, s)
	for _, name := range []string{
		"", ".", "a..b", ".a", "a b.org", "a\x00b.org", `a\046b.org`,
		strings.Repeat("a", 64) + ".org",
		strings.Repeat("a.", 127) + "org", "a\r\nb", "\xff.org", `a"b.org`,
	} {
		if _, err := r.LookupMX(t.Context(), name); !errors.Is(err, delivery.ErrNoName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if got := s.questions(); len(got) > 0 {
		t.Errorf("asked %q", got)
	}
	if a, err := r.LookupMX(t.Context(), "EXÄMPLE.org"); err != nil || len(a.Records) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}
