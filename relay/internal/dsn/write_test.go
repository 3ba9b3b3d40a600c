package dsn_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/dsn"
	"github.com/postern-mail/postern/relay/spool"
)

func TestEightBit(t *testing.T) {
	const head = "From: a@example.com\r\n\r\n"
	for _, c := range []struct {
		name, original, declared, ret string
		want, encoding                string
	}{
		{"7-bit", head + "x", "", "", "7BIT", "7bit"},
		{"declared", head + "x", "8BITMIME", "", "8BITMIME", "8bit"},
		{"declared, header only", head + "\xfc", "8BITMIME", "HDRS", "7BIT", "7bit"},
		{"not declared", head + "\xfc", "7BIT", "", "8BITMIME", "8bit"},
		{"in the header", "From: \xfc <a@example.com>\r\n\r\nx", "", "HDRS", "8BITMIME", "8bit"},
		{"far behind", head + strings.Repeat("x\r\n", 12_000) + "\xfc", "", "", "7BIT", "7bit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report()
			r.Body, r.Return = spool.Body(c.declared), spool.Return(c.ret)
			p := write(t, &r, strings.NewReader(c.original))
			if p.body != c.want ||
				p.parts[2].header.Get("Content-Transfer-Encoding") != c.encoding ||
				p.header.Get("Content-Transfer-Encoding") != c.encoding {
				t.Errorf("BODY=%s, %v", p.body, p.parts[2].header)
			}
			if eight := strings.ContainsFunc(p.raw, func(r rune) bool {
				return r >= utf8.RuneSelf
			}); eight && p.body == "7BIT" {
				t.Error("8-bit octets in a 7-bit report")
			}
		})
	}
}

func TestOriginalBroken(t *testing.T) {
	r := report()
	for name, original := range map[string]io.Reader{
		"none":  nil,
		"large": strings.NewReader("A: " + strings.Repeat("x", 2<<20)),
	} {
		if p := write(t, &r, original); len(p.parts) != 2 {
			t.Errorf("%s: %d parts", name, len(p.parts))
		}
	}
	for name, in := range map[string]string{
		"empty": "", "no header": "hello", "header only": "A: b",
	} {
		if p := write(t, &r, strings.NewReader(in)); len(p.parts) != 3 ||
			!strings.Contains(p.parts[2].text, in) {
			t.Errorf("%s: %d parts", name, len(p.parts))
		}
	}
	cut := errors.New("cut")
	for _, in := range []string{"A: b\r\n", "A: b\r\n\r\nbody"} {
		if _, err := r.Write(
			io.Discard, io.MultiReader(strings.NewReader(in), iotest.ErrReader(cut)),
		); !errors.Is(err, cut) {
			t.Errorf("%q: %v", in, err)
		}
	}
	for n := range 3 {
		if _, err := r.Write(
			&fails{after: n, err: cut}, strings.NewReader(original),
		); !errors.Is(err, cut) {
			t.Errorf("writer that fails after %d: %v", n, err)
		}
	}
}

type fails struct {
	after int
	err   error
}

func (f *fails) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, f.err
	}
	return len(p), nil
}

// bare finds a CR, an LF or a NUL on its own.
func bare(s string) bool {
	return strings.ContainsAny(strings.ReplaceAll(s, "\r\n", ""), "\r\n\x00")
}

// TestOriginalOfEarlierVersion reports on messages in the queue that would not
// be taken today: what could not be sent, or would be read as something else,
// stays out.
func TestOriginalOfEarlierVersion(t *testing.T) {
	for _, head := range []string{
		"X-A: y\rFrom: boss@example.com\r\n", "X-A: y\nFrom: boss@example.com\r\n",
		"X-A: \x00boss\r\n",
		"X-A: boss\r\n\r.\r\nQUIT\r\n", "X-A: boss\n",
	} {
		for _, body := range []string{"", "7BIT", "8BITMIME", "BINARYMIME"} {
			r := report()
			r.Size, r.Body, r.Return = 100, spool.Body(body), "FULL"
			p := write(t, &r, strings.NewReader("From: a@example.com\r\n"+head+"\r\nboss\r\n"))
			if len(p.parts) != 2 || bare(p.raw) || strings.Contains(p.raw, "boss") {
				t.Errorf("%q %s: %d parts\n%q", head, body, len(p.parts), p.raw)
			}
		}
	}
	for in, want := range map[string]string{
		"a\nb\rc\x00\r\n": "a\r\nb\r\nc?\r\n", "\r\r\n\n": "\r\n\r\n\r\n", "a\r": "a\r\n", "a": "a",
		"\xfc\n": "\xfc\r\n", "a\r\n\r\nb\r\n": "a\r\n\r\nb\r\n",
	} {
		content := "From: a@example.com\r\n\r\n" + in
		for name, original := range map[string]io.Reader{
			"whole":  strings.NewReader(content),
			"octets": iotest.OneByteReader(strings.NewReader(content)),
		} {
			r := report()
			r.Size, r.Body, r.Return = 100, "8BITMIME", "FULL"
			p := write(t, &r, original)
			if !strings.HasSuffix(p.parts[2].text, "\r\n\r\n"+want) || bare(p.raw) {
				t.Errorf("%q by %s: %q", in, name, p.parts[2].text)
			}
		}
	}
}

// Whatever the values are, a report reads back as two or three parts, and a
// value stays in its field.
func FuzzWrite(f *testing.F) {
	f.Add("a@b", "rfc822;c@d", "mx [192.0.2.1]:25", "550 5.1.1 x", "env", "q", original, false)
	f.Add(
		"a\r\nBcc: x@y", "x\r\n;\r\nAction: delivered", "\r\n\r\n--x", "550\r\n\r\nmore",
		"\x00\x1b[1m", "\xff\xfe", "\r\n\xfc", true,
	)
	f.Add(
		strings.Repeat("x", 5000), ";", strings.Repeat(" y", 3000),
		"550-"+strings.Repeat("ü", 999), "   ", "\u202ez\u2028", "A\r\n: b\r\n", true,
	)
	f.Add("a@b", "rfc822;c@d", "mx", "550 x", "", "q", "A: b\rFrom: c\r\n\r\nhi\x00\n", false)
	f.Add("a@b", "rfc822;c@d", "mx", "550 x", "", "q", "A: b\r\n\r\nhi\r\r\n\n", false)
	f.Fuzz(func(
		t *testing.T, addr, orcpt, host, diagnostic, envelope, id, original string, utf8OK bool,
	) {
		for _, s := range []string{addr, orcpt, host, diagnostic, envelope, id, original} {
			if strings.Contains(s, "0123456789abcdef") {
				return
			}
		}
		r := dsn.Report{
			ID: id, Hostname: host, From: addr, To: addr, Date: at, OriginalID: id,
			EnvelopeID: envelope, UTF8: utf8OK, Size: 1,
			Recipients: []dsn.Recipient{
				{
					Address: addr, Original: orcpt, Action: dsn.Failed, Status: id, Host: host,
					Reply: delivery.ParseReply(diagnostic),
				},
				{
					Address: orcpt, Original: addr, Action: dsn.Delayed, Host: diagnostic,
					Reply: delivery.ParseReply(host), WillRetryUntil: at,
				},
			},
		}
		r.SetBoundary("0123456789abcdef0123456789abcdef")
		p := write(t, &r, strings.NewReader(original))
		if odd := bare(original); len(p.parts) != 3 && (!odd || len(p.parts) != 2) {
			t.Fatalf("%d parts\n%s", len(p.parts), p.raw)
		}
		if bare(p.raw) {
			t.Fatalf("bare CR, LF or NUL in\n%q", p.raw)
		}
		ours := p.raw
		if len(p.parts) == 3 {
			ours = ours[:strings.LastIndex(ours,
				"--0123456789abcdef0123456789abcdef\r\nContent-Type")]
		}
		for line := range strings.SplitSeq(ours, "\r\n") {
			if len(line) > 998 ||
				strings.ContainsFunc(line, func(c rune) bool {
					return c < ' ' && c != '\t' || c == 0x7f || c >= 0x80 && !utf8OK
				}) {
				t.Fatalf("line %q", line)
			}
		}
		if !utf8.ValidString(ours) {
			t.Fatalf("%q", ours)
		}
		if p.body == "7BIT" && strings.ContainsFunc(p.raw, func(c rune) bool { return c >= 0x80 }) {
			t.Fatalf("8-bit octets in\n%q", p.raw)
		}
		known := "From To Subject Date Message-Id In-Reply-To References Auto-Submitted " +
			"Mime-Version Content-Type Content-Transfer-Encoding"
		for name, v := range p.header {
			if !strings.Contains(known, name) || len(v) != 1 {
				t.Fatalf("%s: %q", name, v)
			}
		}
		g := groups(t, p.parts[1].text)
		if len(g) != 3 || g[1].Get("Action") != "failed" || g[2].Get("Action") != "delayed" {
			t.Fatalf("%d groups\n%s", len(g), p.parts[1].text)
		}
		known = "Reporting-Mta Original-Envelope-Id X-Postern-Queue-Id Original-Recipient " +
			"Final-Recipient Action Status Remote-Mta Diagnostic-Code Will-Retry-Until"
		for _, fields := range g {
			for name, v := range fields {
				if !strings.Contains(known, name) || len(v) != 1 {
					t.Fatalf("%s: %q", name, v)
				}
			}
		}
	})
}
