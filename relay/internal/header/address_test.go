package header_test

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/internal/header"
)

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"bob@example.com":                               "bob@example.com",
		"Bob <bob@example.com>":                         "bob@example.com",
		`"a@b.example, x" <bob@example.com> (x@y.test)`: "bob@example.com",
		"a@example.com, B <b@example.com>":              "a@example.com b@example.com",
		`"a b"@example.com`:                             `"a b"@example.com`,
		`"a@b.example"@example.com`:                     `"a@b.example"@example.com`,
		`"bob"@example.com`:                             "bob@example.com",
		"=?x-unknown?B?Qm9i?= <bob@example.com>":        "bob@example.com",
		"Friends: a@example.com, b@example.com;":        "a@example.com b@example.com",
		"bob@[192.0.2.1]":                               "bob@[192.0.2.1]",
		"björn@exämple.com":                             "björn@exämple.com",
		"foo..bar@docomo.example":                       `"foo..bar"@docomo.example`,
		"Foo <.foo.@docomo.example.>, b@example.com.":   `".foo."@docomo.example b@example.com`,
		`"a..b@c" (x..y@z.) <bob@example.com>`:          "bob@example.com",
		"A..B <bob@example.com>":                        "bob@example.com",
	} {
		got, err := header.Addresses(in)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	for _, in := range []string{
		"..@example.com", "bob@example.com..", "bob@.", "bob@[192.0.2.1].",
		"a..b@c <ceo@example.com>",
		"a..b @example.com", "", "bob", "bob@", "<bob@example.com", "a@b.example c@d.example",
		"a@example.com\r\nTo: b@example.com",
		strings.Repeat("x", 17<<10) + "@example.com",
		strings.Repeat("a@example.com,", 101) + "a@example.com",
	} {
		if got, err := header.Addresses(in); err == nil {
			t.Errorf("%.40q: %q", in, got)
		}
	}
}

func FuzzAddresses(f *testing.F) {
	for _, s := range []string{
		"Bob <bob@example.com>", `"a b"@example.com`, "a:b@c,d@e;", "=?utf-8?q?x?= <a@b>",
		"(x) a@b", "a..b@c., .d@e", `"a..b@c" <d.@e>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := header.Addresses(s)
		if err != nil {
			return
		}
		for _, a := range list {
			if again, err := header.Addresses("<" + a + ">"); err != nil || len(again) != 1 ||
				again[0] != a {
				t.Fatalf("%q gave %q, which reads as %q %v", s, a, again, err)
			}
		}
	})
}
