package smtpd_test

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

func TestBdatArgument(t *testing.T) {
	for _, c := range []struct {
		in   string
		size int64
		last bool
		ok   bool
	}{
		{"0", 0, false, true}, {"10 LAST", 10, true, true}, {"10 last", 10, true, true},
		{"10  LAST", 10, true, true},
		{"999999999999999999", 999999999999999999, false, true},
		{"1000000000000000000", 0, false, false},
		{"", 0, false, false}, {"LAST", 0, false, false}, {"+1", 0, false, false},
		{"1 LAST x", 0, false, false}, {"1\tLAST", 0, false, false},
	} {
		size, last, ok := smtpd.ParseBdat(c.in)
		if ok != c.ok || ok && (size != c.size || last != c.last) {
			t.Errorf("%q: %d %v %v", c.in, size, last, ok)
		}
	}
}

// TestOriginalRecipient reads ORCPT as clients write it.
func TestOriginalRecipient(t *testing.T) {
	for _, c := range []struct {
		utf8       bool
		orcpt, out string // refused if empty
	}{
		{false, "rfc822;b+2Bc@example.test", "rfc822;b+c@example.test"},
		{false, `utf-8;gr\x{F6}\x{DF}e@example.test`, "utf-8;größe@example.test"},
		{true, "utf-8;größe@example.test", "utf-8;größe@example.test"},
		{true, "rfc822;gr+C3+B6+C3+9Fe@example.test", "utf-8;größe@example.test"}, // Postfix
		{false, "rfc822;gr+C3+B6+C3+9Fe@example.test", ""},
		{true, "x400;gr+C3+B6+C3+9Fe@example.test", ""},
		{true, "rfc822;+C3@example.test", ""},
		{true, "rfc822;+C3+B6+0A@example.test", ""},
		{true, "rfc822;+C3+B6+C2+85@example.test", ""},
	} {
		rc, r := smtpd.ParseRcpt("TO:<b@example.test> ORCPT="+c.orcpt, c.utf8)
		if rc.Original != c.out || (r == nil) != (c.out != "") {
			t.Errorf("%s: %q, %v", c.orcpt, rc.Original, r)
		}
	}
}

func FuzzCommand(f *testing.F) {
	for _, s := range []string{
		"FROM:<a@example.test> SIZE=10 BODY=8BITMIME", "FROM:<>",
		`FROM:<"a b"@example.test> AUTH=a+40b ENVID=+2B`,
		"TO:<b@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@c",
		`TO:<ü@example.test> ORCPT=utf-8;\x{FC}@x`, "TO:<postmaster>",
		"TO:<b@example.test> ORCPT=rfc822;gr+C3+B6+C3+9Fe@example.test",
		"FROM: a@example.test SIZE=1", "TO:a..b@BÜCHER.test.", `TO:"a b"@example.test>`,
		"TO:a@b> X",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if m, r := smtpd.ParseMail(s); r == nil {
			checkAddress(t, s, m.From, m.UTF8)
			if !printable(m.EnvelopeID) || m.Auth != nil && !printable(*m.Auth) {
				t.Errorf("%q: %+v", s, m)
			}
		} else if r.Code < 500 || !printable(r.Text) {
			t.Errorf("%q: reply %+v", s, r)
		}
		for _, utf8 := range []bool{false, true} {
			if rc, r := smtpd.ParseRcpt(s, utf8); r == nil {
				checkAddress(t, s, rc.To, utf8)
				if rc.To.IsNull() || strings.ContainsAny(rc.Original, "\r\n\x00") {
					t.Errorf("%q: %+v", s, rc)
				}
			}
		}
	})
}

func checkAddress(t *testing.T, s string, a domains.Address, utf8 bool) {
	t.Helper()
	if a.UTF8() && !utf8 {
		t.Errorf("%q: %q without SMTPUTF8", s, a)
	}
	if strings.ContainsAny(a.String(), "\r\n\x00") {
		t.Errorf("%q: %q", s, a)
	}
	if !strings.Contains(s, a.String()) && !says(s, a) {
		t.Errorf("%q: %q is not what was said", s, a)
	}
}

// says reports whether a is what a mailbox in s comes out as.
func says(s string, a domains.Address) bool {
	for i := range len(s) {
		for j := i + 1; j <= len(s); j++ {
			if strings.IndexByte("<: ", s[i]) < 0 ||
				j < len(s) && strings.IndexByte("> ", s[j]) < 0 {
				continue
			}
			if b, err := domains.Parse(s[i+1 : j]); err == nil && a == b {
				return true
			}
		}
	}
	return false
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
