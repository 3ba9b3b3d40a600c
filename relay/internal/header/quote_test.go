package header_test

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/internal/header"
)

func TestQuoteName(t *testing.T) {
	for _, c := range []struct{ in, want, addresses string }{
		{"Doe, John <a@example.com>", `"Doe, John" <a@example.com>`, "a@example.com"},
		{"App: news <a@example.com>", `"App: news" <a@example.com>`, "a@example.com"},
		{"App [prod] (eu <a@example.com>", `"App [prod] (eu" <a@example.com>`, "a@example.com"},
		{`App "prod" \ one <a@example.com>  `, `"App \"prod\" \\ one" <a@example.com>`,
			"a@example.com"},
		{`"App <a@example.com>`, `"\"App" <a@example.com>`, "a@example.com"},
		{"J\xfcrgen <a@example.com>", "\"J\xfcrgen\" <a@example.com>", "a@example.com"},
		{"\"J\xfcrgen\" <a@example.com>", "\"J\xfcrgen\" <a@example.com>", "a@example.com"},
		{"\"J\xfc, \\\"b@c.test\\\"\" <a@example.com>",
			"\"J\xfc, \\\"b@c.test\\\"\" <a@example.com>", "b@c.test a@example.com"},
		{"a@example.com <a@example.com>", `"a@example.com" <a@example.com>`,
			"a@example.com a@example.com"},
		{"'b@example.com.', x <a@example.com>", `"'b@example.com.', x" <a@example.com>`,
			"b@example.com a@example.com"},
		{"ceo@example.com , App <a@example.com>", `"ceo@example.com , App" <a@example.com>`,
			"ceo@example.com a@example.com"},
		{"mailto:b@example.com <a@example.com>", `"mailto:b@example.com" <a@example.com>`,
			"b@example.com a@example.com"},
		{"=?utf-8?Q??= <a@example.com>", "<a@example.com>", "a@example.com"},
		{"=?utf-8?Q?_?= <a@example.com>", "<a@example.com>", "a@example.com"},
		{"=?utf-8?Q?J=C3=BCrgen?=, Sales <a@example.com>",
			`"=?utf-8?Q?J=C3=BCrgen?=, Sales" <a@example.com>`, "a@example.com"},
		{"=?utf-8?Q?J=C3=BCrgen?= , Sales <a@example.com>",
			`=?utf-8?Q?J=C3=BCrgen?= ", Sales" <a@example.com>`, "a@example.com"},
		{"=?utf-8?B?Y2VvQGV4YW1wbGUuY29t?= , App <a@example.com>",
			`=?utf-8?B?Y2VvQGV4YW1wbGUuY29t?= ", App" <a@example.com>`,
			"ceo@example.com a@example.com"},
		{"A\tB\x01C, D <a@example.com>", `"A B C, D" <a@example.com>`, "a@example.com"},
		{"App <prod> <a@example.com>", `"App <prod>" <a@example.com>`, "a@example.com"},
		{"App > all <a@example.com>", `"App > all" <a@example.com>`, "a@example.com"},
		{"<a@example.com>", "<a@example.com>", "a@example.com"},
		{`X, Y <"a b"@example.com>`, `"X, Y" <"a b"@example.com>`, `"a b"@example.com`},
	} {
		got, list, err := header.QuoteName(c.in)
		if err != nil || got != c.want || strings.Join(list, " ") != c.addresses {
			t.Errorf("%q: %q %q %v", c.in, got, list, err)
			continue
		}
		if again, err := header.Addresses(got); err != nil || len(again) != 1 ||
			again[0] != list[len(list)-1] {
			t.Errorf("%q reads as %q %v", got, again, err)
		}
	}
	for _, in := range []string{
		"", "a@example.com", "X, Y", "X, Y <a@example.com", "X, Y <a@example.com> b",
		"X, Y <a@example.com> (b)", "X, Y <a@example.com>;",
		"X <b@example.com>, Y <a@example.com>", "X, b@example.com> <a@example.com>", "X, Y <>",
		"X, Y <a>",
		"X, Y <a@example.com, b@example.com>", "X @ home, Y <a@example.com>",
		"ceo @ example.com , X <a@example.com>",
		`"ceo"@example.com , X <a@example.com>`, "ceo@[192.0.2.1] , X <a@example.com>",
		"ceo(x)@example.com , X <a@example.com>",
		"ceo@(x)example.com , X <a@example.com>", "X, Y <a\xff@example.com>",
		"=?utf-8?Q?=40?= , X <a@example.com>",
		"=?utf-8?Q?a=40,b?= , <a@example.com>",
		strings.Repeat("x,", 500) + " <a@example.com>",
	} {
		if got, list, err := header.QuoteName(in); err == nil {
			t.Errorf("%.60q: %q %q", in, got, list)
		}
	}
}

// FuzzQuoteName checks that what was quoted reads as the one address behind the
// name, and that no address of the name stays unseen.
func FuzzQuoteName(f *testing.F) {
	for _, s := range []string{
		"Doe, John <a@example.com>", "=?utf-8?Q??= <a@b>", "J\xfc:@ <a@b>", `"\ <a@b>`,
		"a@b, 'c@d' <a@b>", "=?x?b?QA==?= , <a@b>",
		"<a@\tb>", "=?\xc4v\"\xc4?Q?vv?= <a@b>", "=?utf-8?Q?a,b(?= <a@b>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if strings.ContainsAny(in, "\r\n\x00") {
			return // no value of a field
		}
		got, list, err := header.QuoteName(in)
		if err != nil {
			return
		}
		read, err := header.Addresses(got)
		if err != nil || len(read) != 1 || read[0] != list[len(list)-1] || header.HasGroup(got) {
			t.Fatalf("%q became %q, which reads as %q %v", in, got, read, err)
		}
		if strings.ContainsFunc(got, func(c rune) bool {
			return c < ' ' && c != '\t' || c == 0x7f
		}) {
			t.Fatalf("%q became %q", in, got)
		}
		name := in[:strings.LastIndexByte(in, '<')]
		if n := strings.Count(name, "@"); len(list)-1 < n {
			t.Fatalf("%q has %q", in, list)
		}
	})
}
