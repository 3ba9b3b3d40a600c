package auth_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
)

func TestPrepareName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"anna", "anna"},
		{"Anna", "Anna"},
		{"anna@example.com", "anna@example.com"},
		{"u\u0308ber", "über"},
		{"über", "über"},
		{"I\u00adX", "IX"}, // RFC 4013 section 3, here and below
		{"user", "user"},
		{"USER", "USER"},
		{"\u00aa", "a"},
		{"\u2168", "IX"},
		{"\u0007", ""},
		{"\u0627\u0031", ""},
		{"a\u00a0b", "a b"},
		{"a\u200bb", "ab"}, // vanishes, table B.1 being first
		{"", ""},
		{"\u00ad", ""},
		{"a\x00", ""},
		{"a\r\nb", ""},
		{"a\x7f", ""},
		{"a\xff", ""},
		{"a\u202eb", ""}, // writes backwards from here
		{"a\ue000", ""},  // private use
		{strings.Repeat("x", 255), strings.Repeat("x", 255)},
		{strings.Repeat("x", 256), ""},
		{strings.Repeat("\ufdfa", 80), ""}, // grows
	} {
		got, err := auth.PrepareName(tt.in)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%q: %q, %v", tt.in, got, err)
		}
		if err != nil &&
			(len(err.Error()) > 100 || strings.ContainsFunc(err.Error(), func(r rune) bool {
				return r < ' ' || r > '~'
			})) {
			t.Errorf("%q shows in %q", tt.in, err)
		}
	}
}

func FuzzPrepareName(f *testing.F) {
	for _, s := range []string{
		"anna", "u\u0308ber", "I\u00adX", "\u0627\u0031\u0628", "a\u00a0b", "\ufdfa", "\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := auth.PrepareName(s)
		if err != nil {
			if c := (auth.Proof{Username: s, Password: "x"}); !errors.Is(
				c.Check(), auth.ErrBadCredentials,
			) {
				t.Errorf("%q passes", s)
			}
			return
		}
		if c := (auth.Proof{Username: name, Password: "x"}); c.Check() != nil {
			t.Errorf("%q becomes %q, which does not pass", s, name)
		}
		if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("%q becomes %q", s, name)
		}
	})
}

func BenchmarkPrepareName(b *testing.B) {
	for _, name := range []string{"anna@example.com", "jürgen@bücher.example"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				auth.PrepareName(name)
			}
		})
	}
}
