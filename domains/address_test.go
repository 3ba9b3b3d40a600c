package domains_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postern-mail/postern/domains"
)

var (
	local256 = strings.Repeat("a", 256)
	label63  = strings.Repeat("b", 63)
	domain55 = label63 + "." + label63 + "." + label63 + "." + strings.Repeat("b", 63) // 255 octets
)

func TestPostmaster(t *testing.T) {
	t.Parallel()
	a, _, err := domains.ParsePath("<PostMaster>")
	if err != nil || !a.IsPostmaster() || a.IsNull() || a.Key() != "postmaster" {
		t.Fatalf("%q %v %v: key %q, %v", a, a.IsPostmaster(), a.IsNull(), a.Key(), err)
	}
	if s, ok := a.ASCII(); s != "PostMaster" || !ok {
		t.Errorf("ASCII = %q, %v", s, ok)
	}
	b, err := a.WithDomain("Example.com")
	if err != nil || b != domains.MustParse("PostMaster@Example.com") || !b.IsPostmaster() {
		t.Errorf("WithDomain = %q, %v", b, err)
	}
	for _, domain := range []string{"", "b@c", "b>", "b\r\n", "b c"} {
		if b, err := a.WithDomain(domain); err == nil {
			t.Errorf("WithDomain(%q) = %q", domain, b)
		}
	}
	if b, err := (domains.Address{}).WithDomain("example.com"); err == nil {
		t.Errorf("null WithDomain = %q", b)
	}
	c, err := domains.MustParse(`"a@b"@old.test`).WithDomain("new.test")
	if err != nil || c.String() != `"a@b"@new.test` {
		t.Errorf("WithDomain = %q, %v", c, err)
	}
	if domains.MustParse("po\u017ftmaster@b").IsPostmaster() {
		t.Error("a letter that folds to s makes a postmaster")
	}
}

func TestAddressText(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "postmaster", "Postmaster", "a@b", `"a b"@C`, "ü@ü.test", "a@[IPv6:::1]",
	} {
		a := domains.MustParse("x@y")
		if err := a.UnmarshalText([]byte(in)); err != nil {
			t.Errorf("UnmarshalText(%q): %v", in, err)
		}
		if out, err := a.MarshalText(); err != nil || string(out) != in {
			t.Errorf("MarshalText = %q, %v; want %q", out, err, in)
		}
	}
	a := domains.MustParse("x@y")
	if err := a.UnmarshalText([]byte("<a@b>")); !errors.Is(err, domains.ErrAddress) ||
		a.String() != "x@y" {
		t.Errorf("UnmarshalText left %q, %v", a, err)
	}
	if k := (domains.Address{}).Key(); k != "" {
		t.Errorf("key of null %q", k)
	}
}

func TestMustParsePanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	domains.MustParse("a")
}

func TestParseDomain(t *testing.T) {
	t.Parallel()
	d, err := domains.ParseDomain("Bücher.Example")
	if d != "xn--bcher-kva.example" || err != nil {
		t.Errorf("%q, %v", d, err)
	}
	// The name of a host is configured, not received.
	for _, in := range []string{"a@b", "b.test.", "a_b.test", "BÜCHER.test"} {
		if d, err := domains.ParseDomain(in); !errors.Is(err, domains.ErrAddress) {
			t.Errorf("ParseDomain(%q) = %q, %v", in, d, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"user@example.com", `"a\b"@X`, `"a b"@x`, "a@[192.0.2.1]", "a@[IPv6:::ffff:1.2.3.4]",
		"ü@bücher.example", "a@xn--bcher-kva.ü", `"a@b>"@c`, "a@b\u3002c",
		"a@\u05d0.example", "a@\u0643\u200c.example", "a@1.2.3.4",
		"a..b@c.", ".ü.@x_y", "a@BÜCHER.test.", "a@STRAẞE.test",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := domains.Parse(s)
		if err != nil {
			if !errors.Is(err, domains.ErrAddress) {
				t.Fatalf("error %v does not match", err)
			}
			return
		}
		if a.String() != s && !rewritten(s, a) {
			t.Fatalf("%q prints as %q", s, a)
		}
		checkAddress(t, a)
	})
}

// rewritten reports whether a is what s must come out as: with its local part
// in quotes, without a trailing dot, and with its domain in lower case.
func rewritten(s string, a domains.Address) bool {
	local, domain := s[:strings.LastIndexByte(s, '@')], s[strings.LastIndexByte(s, '@')+1:]
	if s[0] != '"' && (strings.Contains("."+local+".", "..")) {
		local = `"` + local + `"`
	}
	out := a.String()
	got, ok := strings.CutPrefix(out, local+"@")
	domain = strings.TrimSuffix(domain, ".")
	return ok && (got == domain || a.UTF8() && got == strings.ToLower(domain))
}

// checkAddress holds an address to what every address must be.
func checkAddress(t *testing.T, a domains.Address) {
	t.Helper()
	s, d := a.String(), a.Domain()
	if !utf8.ValidString(s) ||
		strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
		t.Fatalf("%q holds a forbidden character", s)
	}
	if s[0] != '"' && strings.ContainsAny(s, "<> \"\\,;:()") && !a.IsLiteral() ||
		s[0] != '"' && strings.Count(s, "@") != 1 {
		t.Fatalf("%q needs quotes and has none", s)
	}
	if len(s)-len(a.Local()) < 2 || len(a.Local()) > 256 || len(d) > 255 {
		t.Fatalf("%q is out of bounds", s)
	}
	if a.IsLiteral() {
		if strings.ContainsAny(d[1:len(d)-1], "[]@<> ") {
			t.Fatalf("%q has domain %q", s, d)
		}
	} else {
		for label := range strings.SplitSeq(d, ".") {
			if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
				strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
				t.Fatalf("%q has domain %q", s, d)
			}
		}
	}
	again, err := domains.Parse(s)
	if err != nil || again != a {
		t.Fatalf("%q parses as %+v, %v", s, again, err)
	}
	k, err := domains.Parse(a.Key())
	if err != nil || k.Key() != a.Key() || k.Domain() != d || k.Local() != a.Local() {
		t.Fatalf("%q has key %q, which parses as %+v, %v", s, a.Key(), k, err)
	}
	ascii, ok := a.ASCII()
	c, err := domains.Parse(ascii)
	if err != nil || c.Key() != a.Key() || ok == c.UTF8() {
		t.Fatalf("%q has ASCII form %q, %v, which parses as %+v, %v", s, ascii, ok, c, err)
	}
	p, rest, err := domains.ParsePath("<" + s + "> A=<b@c>")
	if err != nil || p != a || rest != " A=<b@c>" {
		t.Fatalf("<%s> parses as %+v, %q, %v", s, p, rest, err)
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{
		"<>", "<postmaster>", "<a@b> SIZE=1", "<@a,@b:x@y>", `<"a>b\""@c> D=E`, "<@a:\"x:y\"@z>",
		`<"a`, "<@a:@b:x@y>", "<@[IPv6:::1]:x@y>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, rest, err := domains.ParsePath(s)
		if err != nil {
			if !errors.Is(err, domains.ErrAddress) || a != (domains.Address{}) || rest != "" {
				t.Fatalf("ParsePath(%q) = %+v, %q, %v", s, a, rest, err)
			}
			return
		}
		whole := strings.HasSuffix(s, a.String()+">"+rest)
		mailbox := strings.TrimSuffix(s, ">"+rest)
		for i := 0; i < len(mailbox) && !whole; i++ {
			b, err := domains.Parse(mailbox[i+1:])
			whole = strings.IndexByte("<:", mailbox[i]) >= 0 && err == nil && a == b
		}
		if !whole || rest != "" && rest[0] != ' ' {
			t.Fatalf("ParsePath(%q) = %q, rest %q", s, a, rest)
		}
		if a.Domain() == "" {
			if !a.IsNull() && !a.IsPostmaster() {
				t.Fatalf("%q has no domain", a)
			}
			return
		}
		checkAddress(t, a)
	})
}

func BenchmarkKey(b *testing.B) {
	a := domains.MustParse("user.name+tag@mail.example.com")
	b.ReportAllocs()
	for b.Loop() {
		_ = a.Key()
	}
}

// Two spellings of a mailbox have one folded key, and two mailboxes never have.
func TestFoldedKey(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                     "",
		"Postmaster":           "postmaster",
		"ANNA@EXAMPLE.COM":     "anna@example.com",
		`"An\na"@example.com`:  "anna@example.com",
		`"A@B"@example.com`:    `"a@b"@example.com`,
		"Änne@example.com":     "Änne@example.com",
		"\u212A@example.com":   "\u212A@example.com", // the Kelvin sign is no k
		"a@xn--BCHER-KVA.test": "a@xn--bcher-kva.test",
		"a@Bücher.test":        "a@xn--bcher-kva.test",
		"A@[IPv6:2001:DB8::1]": "a@[ipv6:2001:db8::1]",
	} {
		var a domains.Address
		if err := a.UnmarshalText([]byte(in)); err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := a.FoldedKey(); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
