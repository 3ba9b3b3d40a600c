package domains_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/postern-mail/postern/domains"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, local, domain, key, ascii string // key and ascii: in when empty
		utf8, literal                 bool
		notASCII                      bool
	}{
		{in: "user@example.com", local: "user", domain: "example.com"},
		{in: "User@Example.COM", local: "User", domain: "example.com", key: "User@example.com"},
		{in: "a@b", local: "a", domain: "b"},
		{in: "a@localhost", local: "a", domain: "localhost"},
		{in: "a@1.example", local: "a", domain: "1.example"},
		{in: "a@0xg", local: "a", domain: "0xg"},
		{in: "a@ab--cd.example", local: "a", domain: "ab--cd.example"},
		{in: "first.last@example.com", local: "first.last", domain: "example.com"},
		{in: "user%other.test@example.com", local: "user%other.test", domain: "example.com"},
		{in: "b!c@example.com", local: "b!c", domain: "example.com"},
		{
			in: "!#$%&'*+-/=?^_`{|}~09AZaz@example.com", local: "!#$%&'*+-/=?^_`{|}~09AZaz",
			domain: "example.com",
		},
		{in: local256 + "@example.com", local: local256, domain: "example.com"},
		{in: "a@" + domain55, local: "a", domain: domain55},

		{in: `"user"@example.com`, local: "user", domain: "example.com", key: "user@example.com"},
		{in: `"a\b"@x.test`, local: "ab", domain: "x.test", key: "ab@x.test"},
		{in: `"a b"@x.test`, local: "a b", domain: "x.test"},
		{in: `"a\ b"@x.test`, local: "a b", domain: "x.test", key: `"a b"@x.test`},
		{in: `"a\"b\\c"@x.test`, local: `a"b\c`, domain: "x.test"},
		{in: `"a..b"@x.test`, local: "a..b", domain: "x.test"},
		{in: `".a"@x.test`, local: ".a", domain: "x.test"},
		{in: `"a."@x.test`, local: "a.", domain: "x.test"},
		{in: `"a.b"@X.test`, local: "a.b", domain: "x.test", key: "a.b@x.test"},
		{in: `""@x.test`, local: "", domain: "x.test"},
		{in: `"a@b"@x.test`, local: "a@b", domain: "x.test"},
		{in: `"<>"@x.test`, local: "<>", domain: "x.test"},
		{
			in: `"` + strings.Repeat("a", 62) + `"@x.test`, local: strings.Repeat("a", 62),
			domain: "x.test", key: strings.Repeat("a", 62) + "@x.test",
		},
		{
			in:     `"victim@elsewhere.test> ORCPT=rfc822;x"@allowed.test`,
			local:  "victim@elsewhere.test> ORCPT=rfc822;x",
			domain: "allowed.test",
		},

		{in: "a@[192.0.2.1]", local: "a", domain: "[192.0.2.1]", literal: true},
		{in: "a@[IPv6:2001:db8::1]", local: "a", domain: "[IPv6:2001:db8::1]", literal: true},
		{
			in: "a@[ipv6:2001:DB8:0::01]", local: "a", domain: "[IPv6:2001:db8::1]",
			key: "a@[IPv6:2001:db8::1]", literal: true,
		},
		{
			in: "a@[IPv6:::ffff:192.0.2.1]", local: "a", domain: "[192.0.2.1]",
			key: "a@[192.0.2.1]", literal: true,
		},

		{
			in: "a@bücher.example", local: "a", domain: "xn--bcher-kva.example",
			key: "a@xn--bcher-kva.example", ascii: "a@xn--bcher-kva.example", utf8: true,
		},
		{
			in: "a@XN--BCHER-KVA.example", local: "a", domain: "xn--bcher-kva.example",
			key: "a@xn--bcher-kva.example",
		},
		{
			in: "a@Straße.Example", local: "a", domain: "xn--strae-oqa.example",
			key: "a@xn--strae-oqa.example", ascii: "a@xn--strae-oqa.example", utf8: true,
		},
		{
			in: "δοκιμή@example.com", local: "δοκιμή", domain: "example.com",
			utf8:     true,
			notASCII: true,
		},
		{
			in: "用户@例子.测试", local: "用户", domain: "xn--fsqu00a.xn--0zwm56d",
			key:   "用户@xn--fsqu00a.xn--0zwm56d",
			ascii: "用户@xn--fsqu00a.xn--0zwm56d", utf8: true,
			notASCII: true,
		},
		{
			in: `"ü x"@example.com`, local: "ü x", domain: "example.com", utf8: true,
			notASCII: true,
		},
		{
			in: `"ü"@example.com`, local: "ü", domain: "example.com", key: "ü@example.com",
			utf8: true, notASCII: true,
		},
		{
			in:       "नी\u200cका@example.com",
			local:    "नी\u200cका",
			domain:   "example.com",
			utf8:     true,
			notASCII: true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			a, err := domains.Parse(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if tt.key == "" {
				tt.key = tt.in
			}
			if tt.ascii == "" {
				tt.ascii = tt.in
			}
			if a.String() != tt.in || a.Local() != tt.local || a.Domain() != tt.domain ||
				a.Key() != tt.key {
				t.Errorf("got %q, local %q, domain %q, key %q", a, a.Local(), a.Domain(), a.Key())
			}
			if s, ok := a.ASCII(); s != tt.ascii || ok == tt.notASCII {
				t.Errorf("ASCII = %q, %v", s, ok)
			}
			if a.UTF8() != tt.utf8 || a.IsLiteral() != tt.literal || a.IsNull() {
				t.Errorf("UTF8 %v, literal %v, null %v", a.UTF8(), a.IsLiteral(), a.IsNull())
			}
		})
	}
}

// Row S5, and what else a mailbox is not.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "@", "a", "a@", "@b", "<a@b>", "a@b>", "a@b ", " a@b", "a @b", "a@ b",
		"a@b@c", "a@b..c", "a@.b", "a@.", "a@b..", "a@-b-", "a@-b", "a@b-", "a@b.-c", "a@b*c",
		"a@*.b",
		".@b", "...@b", "a@[192.0.2.1].", "a@127.1.", "a@b_c.1", "a,b@c", "a;b@c", "a:b@c",
		"a(b)@c", "a<b@c", "a>b@c", "a[b@c", `a\b@c`, "\"a@b",
		`a"b"@c`, `"a"b@c`, `"a".b@c`, `"a"@`, `"a"`, `"a\`, `"a\"@b`, `"`, `""`, "postmaster",
		"a\r@b", "a\n@b", "a\x00@b", "a\x1b@b", "a\x7f@b", "a\tb@c", "a@b\r\nRCPT TO:<c@d>",
		"a@b\x00", "a@b\x00.c",
		"\"a\rb\"@c", "\"a\nb\"@c", "\"a\x00b\"@c", "\"a\tb\"@c", "\"a\x7fb\"@c", "\"a\\\rb\"@c",
		"\"a\\\x00b\"@c", "\"a\\\x7fb\"@c", `"a\ü"@c`,
		"\xff@b", "a\xc3@b", "\"\xff\"@b", "a@\xff", "a@b\xc3", "a\u0085b@c", "a\u2028b@c",
		"a\u00a0b@c", "a\u202eb@c", "a\u200bb@c", "a\ufeffb@c", "a\u00adb@c", "\"a\u0080\"@c",
		local256 + "a@b", `"` + strings.Repeat("a", 255) + `"@b`,
		`"` + strings.Repeat(`\a`, 128) + `"@b`,
		strings.Repeat("ü", 129) + "@b", strings.Repeat("a", 252) + "..a@b",
		"a@" + label63 + "b.c", "a@" + domain55 + "b", "a@" + strings.Repeat("a.", 200) + "b",
		"a@" + strings.Repeat("ü", 60) + ".b",
		"a@1.2.3.4", "a@127.1", "a@0x7f000001", "a@0X7F.0x1", "a@0x", "a@b.0", "a@999",
		"a@[999]", "a@[]", "a@[", "a@]", "a@[192.0.2.1", "a@192.0.2.1]", "a@[192.0.2.256]",
		"a@[192.0.2.01]", "a@[192.0.2]", "a@[192.0.2.1].b", "a@[192.0.2.1 ]",
		"a@[2001:db8::1]", "a@[IPv6:192.0.2.1]", "a@[IPv6:fe80::1%eth0]", "a@[IPv6:]",
		"a@[IPv6:1::2::3]", "a@[x:y]", "a@[[192.0.2.1]]", "a@[::ffff:192.0.2.1]",
		// Mapped by some software to dots, letters or nothing.
		"a@b\u3002c", "a@b\uff0ec", "a@b\uff61c", "a@b\u2024c", "a@b\u00adc.test",
		"a@\uff42.test", "a@\u212a.test", "a@\u212aü.test", "a@İÜ.test", "a@U\u0308.test",
		"a@STRAẞE.test", "a@Ǆ.test", "a@\uff22Ü.test", "a@u\u0308.test", "a@b\u200bc.test",
		"a@\u2488com",
		"a@\u200d.test", "a@-ü.test", "a@ü-.test", "a@ü..test", "a@Ü\u3002test", "a@ü_x.test",
		"a@ü test", "a@ü.1", "a@xn--.test", "a@xn--a.ü.test", "a@xn--foo-.test",
	} {
		a, err := domains.Parse(in)
		if !errors.Is(err, domains.ErrAddress) {
			t.Errorf("Parse(%q) = %q, %v", in, a.Domain(), err)
			continue
		}
		if a != (domains.Address{}) {
			t.Errorf("Parse(%q) returned an address beside its error", in)
		}
		if msg := err.Error(); strings.ContainsFunc(msg, func(r rune) bool {
			return r < ' ' || r > '~'
		}) {
			t.Errorf("Parse(%q): error %q holds input", in, msg)
		}
	}
}

// Forms in use that the RFCs do not have come out in the one they have, and
// name the mailbox that they name there.
func TestParseWritesTheFormOfTheRFC(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a..b@x.test":                      `"a..b"@x.test`,
		"a.@x.test":                        `"a."@x.test`,
		".a@X.test":                        `".a"@X.test`,
		"ü..x@x.test":                      `"ü..x"@x.test`,
		"a..b@x.test.":                     `"a..b"@x.test`,
		"a@x.test.":                        "a@x.test",
		"A@X.Test.":                        "A@X.Test",
		"root@web_01.corp.test":            "root@web_01.corp.test",
		"a@_dmarc.x.test":                  "a@_dmarc.x.test",
		"a@BÜCHER.test":                    "a@bücher.test",
		"a@BÜCHER.TEST.":                   "a@bücher.test",
		"a@ΒΌΛΟΣ.test":                     "a@βόλοσ.test",
		strings.Repeat("a.", 126) + ".a@b": `"` + strings.Repeat("a.", 126) + `.a"@b`,
	} {
		a, err := domains.Parse(in)
		if err != nil || a.String() != want || a.Key() != domains.MustParse(want).Key() {
			t.Errorf("Parse(%q) = %q, key %q, %v; want %q", in, a, a.Key(), err, want)
			continue
		}
		checkAddress(t, a)
		if p, rest, err := domains.ParsePath("<" + in + "> A=B"); err != nil || p != a ||
			rest != " A=B" {
			t.Errorf("ParsePath(<%s>) = %q, %q, %v", in, p, rest, err)
		}
	}
	if k := domains.MustParse("a@BÜCHER.test").Key(); k != "a@xn--bcher-kva.test" {
		t.Errorf("key %q", k)
	}
}

func TestParsePath(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, text, domain, rest string }{
		{"<>", "", "", ""},
		{"<> BODY=8BITMIME", "", "", " BODY=8BITMIME"},
		{"<a@b>", "a@b", "b", ""},
		{"<a@B> SIZE=1 X=<c@d>", "a@B", "b", " SIZE=1 X=<c@d>"},
		{"<postmaster>", "postmaster", "", ""},
		{"<PostMaster> NOTIFY=NEVER", "PostMaster", "", " NOTIFY=NEVER"},
		{"<postmaster@b>", "postmaster@b", "b", ""},
		{"<@a:x@y>", "x@y", "y", ""},
		{"<@a,@b.test:x@y> A=B", "x@y", "y", " A=B"},
		{"<@a,@b:\"x:y\"@z>", "\"x:y\"@z", "z", ""},
		{`<"a>b"@c> D=E`, `"a>b"@c`, "c", " D=E"},
		{`<"a\">b"@c>`, `"a\">b"@c`, "c", ""},
		{
			`<"victim@elsewhere.test> ORCPT=rfc822;x"@allowed.test>`,
			`"victim@elsewhere.test> ORCPT=rfc822;x"@allowed.test`, "allowed.test", "",
		},
		{"<a@[IPv6:::1]>", "a@[IPv6:::1]", "[IPv6:::1]", ""},
		{"<ü@ü.test> SMTPUTF8", "ü@ü.test", "xn--tda.test", " SMTPUTF8"},
	}
	for _, tt := range tests {
		a, rest, err := domains.ParsePath(tt.in)
		if err != nil || a.String() != tt.text || a.Domain() != tt.domain || rest != tt.rest {
			t.Errorf("ParsePath(%q) = %q, domain %q, rest %q, %v", tt.in, a, a.Domain(), rest, err)
		}
		if a.IsNull() != (tt.text == "") {
			t.Errorf("ParsePath(%q): IsNull = %v", tt.in, a.IsNull())
		}
	}
}

func TestParsePathRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "a@b", " <a@b>", "<", "<a@b", "a@b>", "<<a@b>>", "<a@b>>", "<a@b>X", "<a@b>\tX",
		"<a@b>\r", "<>X", "< >", "<a@b >", "< a@b>",
		"<a>", "<postmaster@>", "<@postmaster>", "<po\u017ftmaster>", "<postmaster >",
		`<"postmaster">`,
		"<@a>", "<@a:>", "<@a:postmaster>", "<@a,b:x@y>", "<@a,:x@y>", "<@:x@y>", "<@a,@b>",
		"<@a:@b:x@y>", "<@a..b:x@y>", "<@[192.0.2.1]:x@y>", "<@[IPv6:::1]:x@y>", "<@a :x@y>", "<@a",
		"<@a:x@y",
		`<"a>b@c>`, `<"a`, `<"`, `<"a\`, `<"a\">`, `<"a"`, "<a@b\x00>", "<a@b\n>",
		"<" + strings.Repeat("@a,", 400) + "@b:x@y>", "<" + strings.Repeat("@a,", 1e6),
		"<" + strings.Repeat("a", 1e6),
	} {
		a, rest, err := domains.ParsePath(in)
		if !errors.Is(err, domains.ErrAddress) || a != (domains.Address{}) || rest != "" {
			t.Errorf("ParsePath(%.40q) = %q, %q, %v", in, a, rest, err)
		}
	}
}

func TestParseAllocations(t *testing.T) {
	for _, tt := range []struct {
		in  string
		max float64
	}{
		{"user.name+tag@mail.example.com", 0},
		{`"a b"@example.com`, 0},
		{"user@Example.com", 1},
		{"a@[192.0.2.1]", 0},
	} {
		path := "<" + tt.in + "> SIZE=1"
		if n := testing.AllocsPerRun(100, func() {
			if _, _, err := domains.ParsePath(path); err != nil {
				t.Fatal(err)
			}
		}); n > tt.max {
			t.Errorf("ParsePath(%q): %v allocations", path, n)
		}
	}
	a := domains.MustParse("user@example.com")
	if n := testing.AllocsPerRun(100, func() {
		_ = a.Key()
		_, _ = a.ASCII()
		_ = a.IsPostmaster()
	}); n != 0 {
		t.Errorf("reading an address: %v allocations", n)
	}
}

func BenchmarkParsePath(b *testing.B) {
	for name, in := range map[string]string{
		"ascii":   "<user.name+tag@mail.example.com> SIZE=10240",
		"upper":   "<User@Mail.Example.com>",
		"quoted":  `<"user name"@mail.example.com>`,
		"literal": "<user@[192.0.2.1]>",
		"idna":    "<user@bücher.example>",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := domains.ParsePath(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
