package dns_test

import (
	"strings"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/postern-mail/postern/relay/internal/dns"
)

// FuzzAnswer reads what a server may send: it ends, keeps within the bounds,
// and has an error unless there are records.
func FuzzAnswer(f *testing.F) {
	for _, list := range [][]string{
		{"a.example. 60 MX 1 b.example.", `a.example. 60 MX 1 b\032.example.`},
		{"a.example. 60 CNAME b.example.", "b.example. 60 CNAME a.example."},
		{"a.example. 60 TXT \"x\" \"\\\"\"", "a.example. 60 TLSA 3 1 1 abcd"},
		{"example. 60 SOA a.example. b.example. 1 1 1 1 60"},
		{"a.example. 60 A 192.0.2.1", "a.example. 60 AAAA 2001:db8::1"},
		{"a.example. 60 PTR b.example."},
	} {
		query := new(miekg.Msg)
		query.SetQuestion("a.example.", miekg.TypeMX)
		query.Id = 7
		f.Add(says(f, query, miekg.RcodeSuccess, list...), byte(0))
		f.Add(says(f, query, miekg.RcodeNameError, list...), byte(1))
	}
	kinds := []uint16{
		miekg.TypeMX, miekg.TypeA, miekg.TypeAAAA, miekg.TypeTXT, miekg.TypeTLSA, miekg.TypePTR,
	}
	f.Fuzz(func(t *testing.T, packed []byte, kind byte) {
		k := kinds[int(kind)%len(kinds)]
		m, err := dns.Unpack(packed, "a.example", k, 7)
		if err != nil {
			m = new(miekg.Msg)
			m.Unpack(packed) // whatever there is of it
		}
		n, end, more, err := dns.Read(m, "a.example", k)
		if n > dns.MaxRecords || n == 0 && err == nil && !more || more && n > 0 {
			t.Errorf("%d records, %v, %v", n, more, err)
		}
		if canonical, ok := dns.CanonicalName(end); end != "" && (!ok || canonical != end) {
			t.Errorf("ends at %q", end)
		}
	})
}

// FuzzName finds no name that would be read in another way than it was meant.
func FuzzName(f *testing.F) {
	for _, s := range []string{
		"a.example.", "Ä.example", `a\.b`, "a..b", "", strings.Repeat("a", 70),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := dns.CanonicalName(s)
		if !ok {
			return
		}
		again, ok := dns.CanonicalName(name)
		if !ok || again != name || strings.HasSuffix(name, ".") {
			t.Errorf("%q: %q, then %q", s, name, again)
		}
		m := new(miekg.Msg)
		m.SetQuestion(miekg.Fqdn(name), miekg.TypeA)
		b, err := m.Pack()
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if err := m.Unpack(b); err != nil || m.Question[0].Name != name+"." {
			t.Errorf("%q: %q, %v", name, m.Question[0].Name, err)
		}
	})
}

// FuzzText undoes what the DNS library does to the text of a record.
func FuzzText(f *testing.F) {
	f.Add("v=DKIM1; p=\"a\\b\x00\xff")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 255 {
			return
		}
		m := new(miekg.Msg)
		m.SetQuestion("a.", miekg.TypeTXT)
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		b[7] = 1
		b = append(b, 1, 'a', 0, 0, 16, 0, 1, 0, 0, 0, 1, 0, byte(len(s)+1))
		b[len(b)-2] = byte((len(s) + 1) >> 8)
		b = append(append(b, byte(len(s))), s...)
		if err := m.Unpack(b); err != nil {
			t.Fatal(err)
		}
		got := dns.Unescape(strings.Join(m.Answer[0].(*miekg.TXT).Txt, ""))
		if got != s {
			t.Errorf("%q became %q", s, got)
		}
	})
}

// BenchmarkCached looks up what is known.
func BenchmarkCached(b *testing.B) {
	a := &asker{ttl: 1 << 40}
	r := a.resolver()
	ctx := b.Context()
	b.Run("TXT", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.LookupTXT(ctx, "a.example")
		}
	})
	b.Run("ip", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.LookupNetIP(ctx, "ip", "a.example")
		}
	})
}

// A look-up of what is known takes the copy of the answer and little else.
func TestCachedLookUpAllocatesLittle(t *testing.T) {
	a := &asker{ttl: 1 << 40}
	r := a.resolver()
	for name, f := range map[string]func(){
		"TXT": func() { r.LookupTXT(t.Context(), "a.example") },
		"ip":  func() { r.LookupNetIP(t.Context(), "ip", "a.example") },
		"MX":  func() { r.LookupMX(t.Context(), "a.example") },
	} {
		f()
		if n := testing.AllocsPerRun(100, f); n > 3 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
