package sevenbit_test

import (
	"io"
	"math/rand/v2"
	"mime"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/internal/sevenbit"
)

// Raw octets in a header become encoded words, or parameters of RFC 2231.
func TestHeaderWords(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{
			"text",
			"Subject: Gr\u00fc\u00dfe an alle",
			"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= an alle",
		},
		{
			"words in a row",
			"Subject: sch\u00f6ne Gr\u00fc\u00dfe",
			"Subject: =?utf-8?q?sch=C3=B6ne_Gr=C3=BC=C3=9Fe?=",
		},
		{
			"words apart",
			"Subject: \u00e9 a \u00e9",
			"Subject: =?utf-8?q?=C3=A9?= a =?utf-8?q?=C3=A9?=",
		},
		{
			"beside encoded words",
			"Subject: =?utf-8?q?a?= \u00e9 =?utf-8?q?b?=",
			"Subject: =?utf-8?q?a?= =?utf-8?q?_=C3=A9_?= =?utf-8?q?b?=",
		},
		{"no blank", "Subject:\u00e9", "Subject: =?utf-8?q?=C3=A9?="},
		{"blanks at the end", "Subject: \u00e9 \t", "Subject: =?utf-8?q?=C3=A9?= \t"},
		{
			"folded",
			"Subject: a\r\n \u00e9\r\n\t\u00e9 b",
			"Subject: a\r\n =?utf-8?q?=C3=A9=09=C3=A9?= b",
		},
		{"special octets", "X-Y: \u00e9=_?.\"(", "X-Y: =?utf-8?q?=C3=A9=3D=5F=3F=2E=22=28?="},
		{
			"long", "Subject: " + strings.Repeat("\u00fc", 20),
			"Subject: =?utf-8?q?" + strings.Repeat("=C3=BC", 9) + "?=\r\n =?utf-8?q?" +
				strings.Repeat("=C3=BC", 10) + "?=\r\n =?utf-8?q?=C3=BC?=",
		},
		{
			"behind a long line", "Subject: " + strings.Repeat("x", 60) + " \u00e9",
			"Subject: " + strings.Repeat("x", 60) + "\r\n =?utf-8?q?=C3=A9?=",
		},
		{
			"name",
			"From: J\u00fcrgen M\u00fcller <j@example.test>",
			"From: =?utf-8?q?J=C3=BCrgen_M=C3=BCller?= <j@example.test>",
		},
		{
			"quoted name",
			"From: \"M\u00fcller, \\\"H\\\"\" <j@example.test>",
			"From: =?utf-8?q?M=C3=BCller=2C_=22H=22?= <j@example.test>",
		},
		{
			"plain name between",
			"From: \u00e9 von \"\u00e9\"<j@example.test>",
			"From: =?utf-8?q?=C3=A9?= von =?utf-8?q?=C3=A9?= <j@example.test>",
		},
		{
			"list",
			"To: a@example.test, \u00e9 <b@example.test>,\u00e9<c@example.test>",
			"To: a@example.test, =?utf-8?q?=C3=A9?= <b@example.test>,\r\n" +
				" =?utf-8?q?=C3=A9?= <c@example.test>",
		},
		{
			"group",
			"To: Gr\u00fcne: a@example.test;",
			"To: =?utf-8?q?Gr=C3=BCne?= : a@example.test;",
		},
		{
			"comment",
			"To: a@example.test (B\u00fcro (\u00e9\\))",
			"To: a@example.test (=?utf-8?q?B=C3=BCro?= (=?utf-8?q?=C3=A9=29?=)",
		},
		{
			"trace",
			"Received: from x (\u00e9) by \u00e9.test",
			"Received: from x (=?utf-8?q?=C3=A9?=) by \u00e9.test",
		},
		{
			"addresses",
			"Cc: \u00e9 <\u00e9@example.test>, \"\u00e9\"@example.test",
			"Cc: =?utf-8?q?=C3=A9?= <\u00e9@example.test>, \"\u00e9\"@example.test",
		},
		{
			"disposition",
			"Content-Disposition: attachment; filename=\"B\u00fcro \\\"1\\\".pdf\"; size=1",
			"Content-Disposition: attachment; filename*=utf-8''B%C3%BCro%20%221%22.pdf; size=1",
		},
		{
			"type",
			"Content-Type: text/plain; charset=utf-8;\r\n name=B\u00fcro",
			"Content-Type: text/plain; charset=utf-8;\r\n name*=utf-8''B%C3%BCro",
		},
		{"Latin-1", "Subject: Gr\xfc\xdfe", "Subject: =?unknown-8bit?q?Gr=FC=DFe?="},
		{
			"Latin-1, declared",
			"Subject: Gr\xfc\xdfe\r\nContent-Type: text/plain; charset=ISO-8859-1",
			"Subject: =?iso-8859-1?q?Gr=FC=DFe?=\r\nContent-Type: text/plain; charset=ISO-8859-1",
		},
		{
			"declared, and not one",
			"Subject: \xfc\r\nContent-Type: text/plain; charset=\"a?b\"",
			"Subject: =?unknown-8bit?q?=FC?=\r\nContent-Type: text/plain; charset=\"a?b\"",
		},
		{"cut short", "From: \"\xc3", "From: =?unknown-8bit?q?=C3?="},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, want := c.in+"\r\n\r\nx\r\n", c.want+"\r\n\r\nx\r\n"
			got, err := convert(t, in)
			if err != nil || got != want {
				t.Fatalf("%v\ngot  %q\nwant %q", err, got, want)
			}
			if again, err := convert(t, got); again != got || err != nil {
				t.Errorf("again: %v, %q", err, again)
			}
		})
	}
	for _, in := range []string{
		"Subject: \u00e9",
		lines(mixed, "", "--b", "Content-Description: \u00e9", "", "x", "--b--"),
		lines(mixed, "", "--b", "Content-Description: \u00e9", "--b", "", "x", "--b--"),
	} {
		want := strings.Replace(in, "\u00e9", "=?utf-8?q?=C3=A9?=", 1)
		if got, err := convert(t, in); err != nil || got != want {
			t.Errorf("%v, %q", err, got)
		}
	}
}

// What a reader shows of a header stays the same.
func TestHeaderWordsAreRead(t *testing.T) {
	dec := mime.WordDecoder{}
	for seed := range uint64(5000) {
		g := &tree{Rand: rand.New(rand.NewPCG(seed, 5))}
		for range 1 + g.IntN(12) {
			g.out.WriteString(g.choose("\u00e9", "\u00fc\u4e16", "\U0001f600", "a", "word",
				" ", " ", " ", "\r\n ", ".", "=", "?", "_", "=?",
				strings.Repeat("x", 30), strings.Repeat("\u00e9", 30)))
		}
		text := strings.Trim(strings.ReplaceAll(g.out.String(), "\r\n", ""), " ")
		if strings.Contains(text, "=?") {
			continue
		}
		in := "Subject: " + strings.Trim(g.out.String(), " \r\n") + "\r\n\r\n"
		out, err := convert(t, in)
		if err != nil || !sevenbit.ASCII([]byte(out)) {
			t.Fatalf("%q became %q, %v", in, out, err)
		}
		_, value, _ := strings.Cut(strings.ReplaceAll(out, "\r\n", ""), ": ")
		if got, err := dec.DecodeHeader(value); strings.TrimSpace(got) != text || err != nil {
			t.Fatalf("%q became %q: %q, want %q, %v", in, out, got, text, err)
		}
		for line := range strings.SplitSeq(out, "\r\n") {
			if len(line) > 78 && strings.Contains(line, "?q?") && !strings.Contains(in, line) &&
				len(line[strings.Index(line, "=?"):]) > 76 {
				t.Fatalf("%q has a long line: %q", out, line)
			}
		}
	}
}

// For a next hop that takes 8-bit headers all else is converted.
func TestHeaderStays(t *testing.T) {
	const in = "Subject: \u00e9\r\nContent-Type: multipart/mixed; " +
		"boundary=b\r\n\r\n--b\r\nContent-Type: image/png; name=\"\u00e9\"\r\n\r\n\x00\xff\n\r\n" +
		"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: \u00e9\r\n\r\nx\r\n--b--\r\n"
	want := "Subject: \u00e9\r\nContent-Type: multipart/mixed; " +
		"boundary=b\r\n\r\n--b\r\nContent-Type: image/png; name=\"\u00e9\"\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\nAP8K\r\n" +
		"--b\r\nContent-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		wrap("Subject: \u00e9\r\n\r\nx") + "\r\n--b--\r\n"
	plan, err := sevenbit.Scan(strings.NewReader(in))
	if err != nil || plan.Err() != nil || !plan.EightHeader() {
		t.Fatal(err, plan.Err(), plan.EightHeader())
	}
	got, err := io.ReadAll(plan.Reader(strings.NewReader(in), true))
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %q\nwant %q", err, got, want)
	}
}

// A converted field has its name, no octets of 8 bits but where they may stay,
// and stays as it is when it is converted again.
func FuzzHeaderWords(f *testing.F) {
	for _, name := range []string{
		"Subject", "From", "Received", "Content-Type", "Content-Disposition",
	} {
		f.Add(name, " é (é a) \"é\" <é@x>, é; name=\"é\" =?utf-8?q?x?= é")
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		if strings.ContainsAny(name+value, "\r\n\x00:") {
			return
		}
		in := name + ":" + value + "\r\n\r\nx\r\n"
		out, err := convert(t, in)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := convert(t, out); again != out || err != nil {
			t.Fatalf("%q became %q, then %q (%v)", in, out, again, err)
		}
		if !strings.HasPrefix(out, name+":") || !strings.HasSuffix(out, "\r\n\r\nx\r\n") {
			if !strings.Contains(out, "MIME-Version") {
				t.Fatalf("%q became %q", in, out)
			}
		}
	})
}

// A header that is made to be slow to convert takes no longer than others: four
// times as much of it takes about four times as long, not sixteen times.
func TestHeaderWordsTakeTheirTime(t *testing.T) {
	for _, name := range []string{"Subject", "From", "Received", "Content-Type"} {
		for _, piece := range []string{
			"é ", "é(", "é", "\xff", "\"é", "<é", "é<", "=?a?=,", "é=?a?q?b?= ", ";a=é",
			"x",
			" é x", ")(", "é)", "\\é", "a@é,", " ",
		} {
			quickest := func(n int) time.Duration {
				in := name + ": é " + strings.Repeat(piece, n/len(piece)) + "\r\n\r\nx\r\n"
				best := time.Hour
				for range 3 {
					began := time.Now()
					out, err := convert(t, in)
					best = min(best, time.Since(began))
					if err != nil || len(out) > 20*len(in) {
						t.Errorf("%s, %q: %v, %d octets", name, piece, err, len(out))
					}
				}
				return best
			}
			var few, many time.Duration
			for range 5 { // a machine is busy now and then, but not each time
				few, many = quickest(8<<10), quickest(32<<10)
				if many <= 10*few+50*time.Millisecond {
					break
				}
			}
			if many > 10*few+50*time.Millisecond {
				t.Errorf("%s, %q took %v, and %v for a quarter of it", name, piece, many, few)
			}
		}
	}
}
