package header_test

import (
	"io"
	"net/mail"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/internal/header"
)

func TestComplete(t *testing.T) {
	for _, c := range [][2]string{
		{"bob", "bob@example.com"},
		{" bob\r\n", " bob@example.com\r\n"},
		{"bob@example.org", "bob@example.org"},
		{"bob, ann@example.org, carol", "bob@example.com, ann@example.org, carol@example.com"},
		{"Bob <bob>", "Bob <bob@example.com>"},
		{"Bob <bob>, \"Ann, CEO\" <ann>", "Bob <bob@example.com>, \"Ann, CEO\" <ann@example.com>"},
		{"\"odd local\"", "\"odd local\"@example.com"},
		{"bob (at home, mostly)", "bob@example.com (at home, mostly)"},
		{"bob (a (nested) \\) one)", "bob@example.com (a (nested) \\) one)"},
		{"friends: bob, ann@example.org;", "friends: bob@example.com, ann@example.org;"},
		{"undisclosed-recipients:;", "undisclosed-recipients:;"},
		{
			"a: bob; b: \"x, y\" <ann>, (c) carol@example.org;, dan",
			"a: bob@example.com; b: \"x, y\" <ann@example.com>, (c) carol@example.org;, " +
				"dan@example.com",
		},
		{
			"\"a@b\", <\"c\\\"> d\">, \"e\"@example.org",
			"\"a@b\"@example.com, <\"c\\\"> d\"@example.com>, \"e\"@example.org",
		},
		{"bob@[IPv6:2001:db8::1], carol", "bob@[IPv6:2001:db8::1], carol@example.com"},
		{"Bob Smith", "Bob Smith"},
		{"<>", "<>"},
		{"bob@[192.0.2.1]", "bob@[192.0.2.1]"},
		{"bob@ example.org", "bob@ example.org"},
		{"a.b\r\n\t, c", "a.b@example.com\r\n\t, c@example.com"},
		{"j\u00fcrgen", "j\u00fcrgen@example.com"},
		{"bob, \"never ends", "bob@example.com, \"never ends"},
		{"bob (never ends", "bob (never ends"},
		{"", ""},
	} {
		if got := header.Complete(c[0], "example.com"); got != c[1] {
			t.Errorf("%q: %q, want %q", c[0], got, c[1])
		}
	}
}

// FuzzComplete checks that a list which parses still parses to the same
// mailboxes, and that nothing but the domain is added.
func FuzzComplete(f *testing.F) {
	for _, s := range []string{
		"bob", "Bob <bob>, ann@example.org", "g: a, b;", "\"q\\\"\" <x> (c)",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := header.Complete(in, "example.com")
		if strings.ReplaceAll(
			out, "@example.com", "",
		) != strings.ReplaceAll(in, "@example.com", "") {
			t.Fatalf("%q became %q", in, out)
		}
		if again := header.Complete(out, "example.com"); again != out {
			t.Fatalf("%q became %q, then %q", in, out, again)
		}
		before, err := mail.ParseAddressList(in)
		if err != nil {
			return
		}
		after, err := mail.ParseAddressList(out)
		if err != nil || len(before) != len(after) {
			t.Fatalf("%q became %q: %v", in, out, err)
		}
		for i := range before {
			if before[i].Address != after[i].Address {
				t.Fatalf("%q became %q", before[i].Address, after[i].Address)
			}
		}
	})
}

func TestHasGroup(t *testing.T) {
	for in, want := range map[string]bool{
		"": false, "a@example.com": false, "a@example.com, b@example.com": false,
		"\"g: a\" <a@example.com>": false, "a@example.com (g: x)": false,
		"a@[IPv6:2001:db8::1]": false, "\"x\\\":\"@example.com": false, "g:;": true,
		"a@example.com, g: b@example.com;":                     true,
		"a@[IPv6:2001:db8::1], \"x\" g (c: d): b@example.com;": true, "\"open: ": false,
		"(open: ": false, "[open: ": false,
	} {
		if got := header.HasGroup(in); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestAdd(t *testing.T) {
	for in, want := range map[string]string{
		"Subject: x\r\nTo: a,\r\n b\r\n\r\nbody": "From: <a@example.com>\r\nSubject: x\r\nTo: " +
			"a,\r\n b\r\n\r\n",
		"no header": "From: <a@example.com>\r\n\r\n",
	} {
		h, _, err := header.Read(strings.NewReader(in), 0)
		if err != nil {
			t.Fatal(err)
		}
		subject, n := h.Value("Subject"), h.Len()
		h.Add("From", "<a@example.com>")
		if string(h.Bytes()) != want || h.Value("From") != "<a@example.com>" ||
			h.Value("Subject") != subject || h.Len() != n+1 {
			t.Errorf("%q became %q", in, h.Bytes())
		}
		h.Remove(func(f header.Field) bool { return f.Is("From") })
		if got := string(h.Bytes()); got != strings.TrimPrefix(want, "From: <a@example.com>\r\n") {
			t.Errorf("after Remove: %q", got)
		}
	}
}

func TestRewrite(t *testing.T) {
	const in = "Received: by a\r\nFrom: bob\r\nTo: ann,\r\n carol\r\nSubject: x\r\n\r\nbody"
	h, body, err := header.Read(strings.NewReader(in), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	h.Rewrite(func(f header.Field, value string) string {
		if f.Is("From") || f.Is("To") {
			return header.Complete(value, "example.com")
		}
		return value
	})
	const want = "Received: by a\r\nFrom: bob@example.com\r\nTo: ann@example.com,\r\n " +
		"carol@example.com\r\nSubject: x\r\n\r\n"
	if got := string(h.Bytes()); got != want {
		t.Errorf("%q", got)
	}
	if h.Value("From") != "bob@example.com" ||
		h.Value("To") != "ann@example.com, carol@example.com" || h.Value("Subject") != "x" ||
		h.Value("Received") != "by a" {
		t.Errorf("fields: %q %q %q", h.Value("From"), h.Value("To"), h.Value("Subject"))
	}
	h.Remove(func(f header.Field) bool { return f.Is("From") })
	if got := string(h.Bytes()); got != strings.Replace(want, "From: bob@example.com\r\n", "", 1) {
		t.Errorf("after Remove: %q", got)
	}
	rest, err := io.ReadAll(body)
	if err != nil || string(rest) != "body" {
		t.Errorf("body %q, %v", rest, err)
	}
}
