package domains_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/domains"
)

func relay(domain string) domains.AcceptedDomain {
	return domains.AcceptedDomain{Domain: domain, Type: domains.InternalRelay}
}

func TestLookup(t *testing.T) {
	below := relay("below.test")
	below.MatchSubdomains = true
	table, err := domains.NewTable(
		relay("*.example.com"), relay("Example.com"), relay("*.eu.example.com"),
		relay("mail.eu.example.com"),
		relay("plain.test"), below, relay("[192.0.2.1]"), relay("[ipv6:2001:DB8::1]"),
		relay("*.bücher.test"), relay("*.co"),
	)
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]string{
		"example.com":           "example.com",
		"a.example.com":         "*.example.com",
		"a.b.example.com":       "*.example.com",
		"eu.example.com":        "*.eu.example.com",
		"x.eu.example.com":      "*.eu.example.com",
		"mail.eu.example.com":   "mail.eu.example.com",
		"a.mail.eu.example.com": "*.eu.example.com",
		"aexample.com":          "",
		"example.com.evil":      "",
		"com":                   "",
		"plain.test":            "plain.test",
		"a.plain.test":          "",
		"below.test":            "below.test",
		"a.below.test":          "below.test",
		"[192.0.2.1]":           "[192.0.2.1]",
		"[192.0.2.2]":           "",
		"[IPv6:2001:db8::1]":    "[IPv6:2001:db8::1]",
		"xn--bcher-kva.test":    "*.xn--bcher-kva.test",
		"a.xn--bcher-kva.test":  "*.xn--bcher-kva.test",
		"anything.co":           "*.co",
		"":                      "",
		".":                     "",
		"..co":                  "*.co", // no domain of an Address looks so
	} {
		got, ok := table.Lookup(domain)
		if ok != (want != "") || ok && got.Domain != want {
			t.Errorf("Lookup(%q) = %+v, %v; want %q", domain, got, ok, want)
		}
	}
	deep := strings.Repeat("a.", 120) + "example.com"
	if n := testing.AllocsPerRun(100, func() { table.Lookup(deep) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNilTable(t *testing.T) {
	t.Parallel()
	var table *domains.Table
	if d, ok := table.Lookup("example.com"); d != nil || ok || table.Domains() != nil {
		t.Error("a nil table holds something")
	}
	table, err := domains.NewTable()
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := table.Lookup("example.com"); d != nil || ok {
		t.Error("an empty table holds something")
	}
}

func TestDomainsIsACopy(t *testing.T) {
	t.Parallel()
	list := []domains.AcceptedDomain{relay("B.test"), relay("*.a.test")}
	table, err := domains.NewTable(list...)
	if err != nil {
		t.Fatal(err)
	}
	list[0].Domain = "changed"
	got := table.Domains()
	if len(got) != 2 || got[0].Domain != "b.test" || got[1].Domain != "*.a.test" {
		t.Fatalf("%+v", got)
	}
	got[0].Domain = "changed"
	if d, ok := table.Lookup("b.test"); !ok || d.Domain != "b.test" {
		t.Errorf("%+v", d)
	}
}

func TestNewTableFaults(t *testing.T) {
	t.Parallel()
	everyone := domains.AnyRecipient()
	tests := []struct {
		name   string
		list   []domains.AcceptedDomain
		fields []string
	}{
		{"empty", []domains.AcceptedDomain{relay("")}, []string{"[0].Domain"}},
		{
			"everything", []domains.AcceptedDomain{relay("*"), relay("*.")},
			[]string{"[0].Domain", "[1].Domain"},
		},
		{
			"inner wildcard",
			[]domains.AcceptedDomain{
				relay("domain.*.test"), relay("*.*.test"), relay("*test"), relay("a*.test"),
			},
			[]string{"[0].Domain", "[1].Domain", "[2].Domain", "[3].Domain"},
		},
		{
			"not a domain",
			[]domains.AcceptedDomain{
				relay("a_b"), relay("a.test."), relay("a@b"), relay("[999]"), relay("1.2.3.4"),
				relay("a b"), relay("a\u3002test"),
			},
			[]string{
				"[0].Domain", "[1].Domain", "[2].Domain", "[3].Domain", "[4].Domain", "[5].Domain",
				"[6].Domain",
			},
		},
		{"too long", []domains.AcceptedDomain{relay("*." + domain55)}, []string{"[0].Domain"}},
		{
			"literal",
			[]domains.AcceptedDomain{
				relay("*.[192.0.2.1]"),
				{Domain: "[192.0.2.1]", Type: domains.InternalRelay, MatchSubdomains: true},
			},
			[]string{"[0].Domain", "[1].Domain"},
		},
		{
			"duplicate",
			[]domains.AcceptedDomain{relay("a.test"), relay("b.test"), relay("A.test")},
			[]string{"[2].Domain"},
		},
		{
			"duplicate wildcard",
			[]domains.AcceptedDomain{
				relay("*.a.test"),
				{Domain: "a.test", Type: domains.InternalRelay, MatchSubdomains: true},
			},
			[]string{"[1].Domain"},
		},
		{
			"duplicate international",
			[]domains.AcceptedDomain{relay("bücher.test"), relay("xn--bcher-kva.test")},
			[]string{"[1].Domain"},
		},
		{
			"duplicate literal",
			[]domains.AcceptedDomain{relay("[192.0.2.1]"), relay("[IPv6:::ffff:192.0.2.1]")},
			[]string{"[1].Domain"},
		},
		{
			"authoritative without recipients",
			[]domains.AcceptedDomain{
				{Domain: "a.test"}, {Domain: "b.test", Recipients: domains.ResolverFunc(nil)},
			},
			[]string{"[0].Recipients", "[1].Recipients"},
		},
		{
			"external with recipients",
			[]domains.AcceptedDomain{
				{Domain: "a.test", Type: domains.ExternalRelay, Recipients: everyone},
			},
			[]string{"[0].Recipients"},
		},
		{
			"internal with nil func",
			[]domains.AcceptedDomain{
				{
					Domain: "a.test", Type: domains.InternalRelay,
					Recipients: domains.ResolverFunc(nil),
				},
			},
			[]string{"[0].Recipients"},
		},
		{
			"unknown type", []domains.AcceptedDomain{{Domain: "a.test", Type: 3}},
			[]string{"[0].Type"},
		},
		{
			"bad recipients",
			[]domains.AcceptedDomain{
				{Domain: "a.test", Recipients: domains.StaticRecipients("ok", "a b", "a@b@c")},
			},
			[]string{"[0].Recipients[1]", "[0].Recipients[2]"},
		},
		{
			"all at once",
			[]domains.AcceptedDomain{{Domain: "_"}, relay("ok.test"), {Domain: "*", Type: 9}},
			[]string{"[0].Domain", "[0].Recipients", "[2].Domain", "[2].Type"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			table, err := domains.NewTable(tt.list...)
			if table != nil || err == nil {
				t.Fatalf("%v, %v", table, err)
			}
			var fields []string
			for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
				var f *postern.FieldError
				if !errors.As(e, &f) || f.Unwrap() == nil {
					t.Fatalf("%T", e)
				}
				fields = append(fields, f.Field)
			}
			if !slices.Equal(fields, tt.fields) {
				t.Errorf("faults of %v, want %v:\n%v", fields, tt.fields, err)
			}
		})
	}
}

func TestType(t *testing.T) {
	t.Parallel()
	for _, typ := range []domains.Type{
		domains.Authoritative, domains.InternalRelay, domains.ExternalRelay,
	} {
		for _, s := range []string{
			typ.String(), strings.ToLower(typ.String()), strings.ToUpper(typ.String()),
		} {
			if got, err := domains.ParseType(s); got != typ || err != nil {
				t.Errorf("ParseType(%q) = %v, %v", s, got, err)
			}
		}
		b, err := json.Marshal(typ)
		if err != nil {
			t.Fatal(err)
		}
		var back domains.Type
		if err := json.Unmarshal(b, &back); err != nil || back != typ {
			t.Errorf("%s: %v, %v", b, back, err)
		}
	}
	if _, err := domains.ParseType("relay"); err == nil {
		t.Error("ParseType accepts relay")
	}
	typ := domains.ExternalRelay
	if err := typ.UnmarshalText([]byte("")); err == nil || typ != domains.ExternalRelay {
		t.Errorf("%v, %v", typ, err)
	}
	if s := domains.Type(7).String(); s != "Type(7)" {
		t.Error(s)
	}
	if _, err := domains.Type(7).MarshalText(); err == nil {
		t.Error("Type(7) marshals")
	}
}

// lookupSlowly is what Lookup must answer, said in another way.
func lookupSlowly(list []domains.AcceptedDomain, domain string) string {
	best, rank := "", -1
	for _, d := range list {
		name, wild := strings.CutPrefix(d.Domain, "*.")
		switch {
		case domain == name && !wild:
			return d.Domain
		case (wild || d.MatchSubdomains) &&
			(domain == name || strings.HasSuffix(domain, "."+name)) && len(name) > rank:
			best, rank = d.Domain, len(name)
		}
	}
	return best
}

func FuzzTable(f *testing.F) {
	f.Add("*.a.b a.b c.a.b +d", "x.c.a.b")
	f.Add("*.com *.example.com example.com [192.0.2.1]", "example.com")
	f.Add("+ü.test *.a.ü.test", "a.xn--tda.test")
	f.Fuzz(func(t *testing.T, entries, domain string) {
		var list []domains.AcceptedDomain
		for _, e := range strings.Fields(entries[:min(len(entries), 1000)]) {
			name, match := strings.CutPrefix(e, "+")
			d := relay(name)
			d.MatchSubdomains = match
			if _, err := domains.NewTable(append(slices.Clone(list), d)...); err == nil {
				list = append(list, d)
			}
		}
		table, err := domains.NewTable(list...)
		if err != nil {
			t.Fatal(err)
		}
		list = table.Domains()
		a, err := domains.Parse("a@" + domain)
		if err != nil {
			return
		}
		want := lookupSlowly(list, a.Domain())
		got, ok := table.Lookup(a.Domain())
		if ok != (want != "") || ok && got.Domain != want {
			t.Fatalf("Lookup(%q) in %q = %+v; want %q", a.Domain(), entries, got, want)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	list := make([]domains.AcceptedDomain, 10000)
	for i := range list {
		list[i] = relay(fmt.Sprintf("*.d%d.example.com", i))
	}
	table, err := domains.NewTable(list...)
	if err != nil {
		b.Fatal(err)
	}
	for _, domain := range []string{"d77.example.com", "mx.eu.d9999.example.com", "not.here.test"} {
		b.Run(domain, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Lookup(domain)
			}
		})
	}
}

func TestResolvers(t *testing.T) {
	r := domains.StaticRecipients(
		"Alice", "bob@Example.com", `"a b"`, `"x@y"`, "jürgen", "carol@bücher.test", "postmaster",
	)
	for in, want := range map[string]bool{
		"alice@a.test":             true,
		"ALICE@b.test":             true,
		`"alice"@a.test`:           true,
		"bob@example.com":          true,
		"BOB@EXAMPLE.com":          true,
		"bob@a.test":               false,
		`"bob@example.com"@a.test`: false, // not the mailbox bob@example.com
		`"a b"@a.test`:             true,
		`"x@y"@a.test`:             true,
		"x@y":                      false,
		"jürgen@a.test":            true,
		"JÜRGEN@a.test":            false,
		"carol@xn--bcher-kva.test": true,
		"carol@bücher.test":        true,
		"carol@bucher.test":        false,
		"Postmaster@a.test":        true,
		"alice+tag@a.test":         false,
	} {
		if known, err := r.Resolve(t.Context(), domains.MustParse(in)); known != want ||
			err != nil {
			t.Errorf("Resolve(%s) = %v, %v", in, known, err)
		}
	}
	pm, _, _ := domains.ParsePath("<postmaster>")
	for _, a := range []domains.Address{{}, pm} {
		if known, err := r.Resolve(t.Context(), a); known || err != nil {
			t.Errorf("Resolve(%q) = %v, %v", a, known, err)
		}
	}
	if known, err := domains.AnyRecipient().Resolve(
		t.Context(), domains.MustParse("a@b"),
	); !known || err != nil {
		t.Errorf("AnyRecipient: %v, %v", known, err)
	}
	if known, _ := domains.StaticRecipients().Resolve(
		t.Context(), domains.MustParse("a@b"),
	); known {
		t.Error("an empty list knows somebody")
	}
	down := errors.New("down")
	f := domains.ResolverFunc(func(context.Context, domains.Address) (bool, error) {
		return false, down
	})
	if _, err := f.Resolve(t.Context(), domains.Address{}); !errors.Is(err, down) {
		t.Error(err)
	}
	a := domains.MustParse("alice@example.com")
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Resolve(t.Context(), a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
