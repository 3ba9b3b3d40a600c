package outbound_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

func TestReply(t *testing.T) {
	for _, test := range []struct {
		in       string
		code     int // 0: an error
		enhanced string
		text     string
	}{
		{"250 ok\r\n", 250, "", "ok"},
		{"250\r\n", 250, "", ""},
		{"250 \r\n", 250, "", ""},
		{"250 ok\n", 250, "", "ok"},
		{"250 2.0.0 ok\r\n", 250, "2.0.0", "ok"},
		{"250 2.0.0\r\n", 250, "2.0.0", ""},
		{"250-2.0.0 a\r\n250 2.0.0 b\r\n", 250, "2.0.0", "a b"},
		{"250-2.0.0 a\r\n250 2.1.0 b\r\n", 250, "2.0.0", "a 2.1.0 b"},
		{"250-a\r\n250-\r\n250 b\r\n", 250, "", "a b"},
		{"250-a\r\n550 b\r\n", 550, "", "a b"},
		{"550 5.1.1x\r\n", 550, "", "5.1.1x"},
		{"550 5.1\r\n", 550, "", "5.1"},
		{"550 5.1111.1 no\r\n", 550, "", "5.1111.1 no"},
		{"550 4.1.1 no\r\n", 550, "", "4.1.1 no"},
		{"550 5.123.123 no\r\n", 550, "5.123.123", "no"},
		{"\r\n", 0, "", ""},
		{"25\r\n", 0, "", ""},
		{"150 ok\r\n", 0, "", ""},
		{"650 ok\r\n", 0, "", ""},
		{"250", 0, "", ""},
		{"250-ok\r\n", 0, "", ""},
		{"250+ok\r\n", 0, "", ""},
		{"2500\r\n", 0, "", ""},
		{
			"250 " + strings.Repeat("x", 4000) + "\r\n", 250, "",
			strings.Repeat("x", outbound.MaxReplyText),
		},
		{"250 " + strings.Repeat("x", 4096) + "\r\n", 0, "", ""},
		{strings.Repeat("250-x\r\n", 127) + "250 x\r\n", 250, "", strings.Repeat("x ", 127) + "x"},
		{strings.Repeat("250-x\r\n", 128) + "250 x\r\n", 0, "", ""},
		{strings.Repeat("250-"+strings.Repeat("x", 1000)+"\r\n", 70) + "250 x\r\n", 0, "", ""},
	} {
		for _, src := range []io.Reader{
			strings.NewReader(test.in), iotest.OneByteReader(strings.NewReader(test.in)),
		} {
			code, enhanced, text, _, err := outbound.ReadReply(src)
			if code != test.code || enhanced != test.enhanced || text != test.text ||
				(err != nil) != (test.code == 0) {
				t.Errorf("%.40q: %d %q %.40q %v", test.in, code, enhanced, text, err)
			}
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte("250-2.0.0 first\r\n250 2.0.0 second\r\n"))
	f.Add([]byte("250-2.0.0 first\r\n520 2.0.0 second\r\n"))
	f.Add([]byte("550 5.1.1 \x1b[2J\xff\r\nx"))
	f.Add(bytes.Repeat([]byte("250-x\r\n"), 130))
	f.Add(bytes.Repeat([]byte("2"), 5000))
	f.Fuzz(func(t *testing.T, in []byte) {
		code, enhanced, text, lines, err := outbound.ReadReply(bytes.NewReader(in))
		code2, enhanced2, text2, _, err2 := outbound.ReadReply(
			iotest.OneByteReader(bytes.NewReader(in)),
		)
		if code != code2 || enhanced != enhanced2 || text != text2 ||
			(err == nil) != (err2 == nil) {
			t.Errorf(
				"octet by octet: %d %q %q %v, at once: %d %q %q %v", code2, enhanced2, text2, err2,
				code, enhanced, text, err,
			)
		}
		if lines > outbound.MaxReplyLines {
			t.Errorf("%d lines", lines)
		}
		if err != nil {
			return
		}
		if code < 200 || code > 599 {
			t.Errorf("code %d", code)
		}
		if len(text) > outbound.MaxReplyText || !utf8.ValidString(text) ||
			strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
			t.Errorf("text %q", text)
		}
		if enhanced != "" &&
			(enhanced[0] != byte('0'+code/100) || strings.ContainsFunc(enhanced, func(r rune) bool {
				return r != '.' && !unicode.IsDigit(r)
			})) {
			t.Errorf("enhanced %q", enhanced)
		}
	})
}

// FuzzAddress holds the promise that an address let through cannot end its
// angle brackets.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"a@b", `"a b"@c`, `"a\"> b"@c`, "a@b>", `"\`, "a\r\n", `"a>b"@c`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, a string) {
		if !outbound.FitAddress(a) {
			return
		}
		quoted, end := false, -1
		line := "<" + a + "> NOTIFY=NEVER"
		for i := 1; i < len(line) && end < 0; i++ {
			switch {
			case line[i] < ' ' || line[i] == 0x7f:
				t.Fatalf("control character in %q", a)
			case quoted && line[i] == '\\':
				i++
			case line[i] == '"':
				quoted = !quoted
			case !quoted && line[i] == '>':
				end = i
			}
		}
		if end != len(a)+1 {
			t.Errorf("%q ends at %d", line, end)
		}
	})
}

// FuzzORCPT holds the promise that the parameter stays one word.
func FuzzORCPT(f *testing.F) {
	f.Add("rfc822;a b=c+d@example.com", false)
	f.Add("rfc822 NOTIFY=NEVER;a@example.com", false)
	f.Add("utf-8;ö\\ \r\n@example.com", true)
	f.Fuzz(func(t *testing.T, s string, unitext bool) {
		for i, c := range outbound.AppendORCPT(nil, s, unitext) {
			if c <= ' ' || c == 0x7f || c == '=' || !unitext && c >= 0x80 {
				t.Fatalf("octet %d of %q is %#x", i, s, c)
			}
		}
	})
}

func TestORCPT(t *testing.T) {
	for _, test := range []struct {
		in, unitext, xtext string
	}{
		{"rfc822;a+b@example.com", "rfc822;a+2Bb@example.com", "rfc822;a+2Bb@example.com"},
		{
			"utf-8;ä\\+@example.com", `utf-8;ä\x{5c}\x{2b}@example.com`,
			`utf-8;\x{e4}\x{5c}\x{2b}@example.com`,
		},
		{"no type", "no+20type", "no+20type"},
	} {
		if got := string(outbound.AppendORCPT(nil, test.in, true)); got != test.unitext {
			t.Errorf("%q: %q", test.in, got)
		}
		if got := string(outbound.AppendORCPT(nil, test.in, false)); got != test.xtext {
			t.Errorf("%q: %q", test.in, got)
		}
	}
}
