package sevenbit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sevenbit"
)

// convert scans and converts.
func convert(t testing.TB, content string) (string, error) {
	t.Helper()
	plan, err := sevenbit.Scan(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if plan.Err() != nil {
		return "", plan.Err()
	}
	out, err := io.ReadAll(plan.Reader(iotest.HalfReader(strings.NewReader(content)), false))
	if err != nil {
		t.Fatalf("%q: %v", content, err)
	}
	return string(out), nil
}

// lines joins lines with CRLF.
func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n" }

func TestConvert(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{
			"no MIME, UTF-8",
			lines("Subject: x", "", "gr\u00fcn = green ", "end"),
			lines("Subject: x", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8",
				"Content-Transfer-Encoding: quoted-printable", "",
				"gr=C3=BCn =3D green=20", "end"),
		},
		{
			"no MIME, Latin-1, no line end",
			"Subject: x\r\n\r\ngr\xfcn",
			"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; " +
				"charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=FCn",
		},
		{
			"cut character",
			lines("Subject: x", "", "a\u00fc\xc3"),
			lines(
				"Subject: x", "MIME-Version: 1.0", "Content-Type: text/plain; charset=unknown-8bit",
				"Content-Transfer-Encoding: quoted-printable", "", "a=C3=BC=C3",
			),
		},
		{
			"no header",
			"gr\u00fcn\r\n",
			lines(
				"MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8",
				"Content-Transfer-Encoding: quoted-printable", "", "gr=C3=BCn",
			),
		},
		{
			"label replaced where it stands, and once",
			lines(
				"MIME-Version: 1.0", "content-transfer-encoding:", "\t8BIT (really)",
				"Content-Transfer-Encoding: 7bit", "Content-Type: text/html; charset=iso-8859-1",
				"", "<p>\xfc",
			),
			lines(
				"MIME-Version: 1.0", "Content-Transfer-Encoding: quoted-printable",
				"Content-Type: text/html; charset=iso-8859-1", "", "<p>=FC",
			),
		},
		{
			"not text",
			lines(
				"MIME-Version: 1.0", "Content-Type: application/x",
				"Content-Transfer-Encoding: binary", "", strings.Repeat("\xff", 58),
			),
			lines(
				"MIME-Version: 1.0", "Content-Type: application/x",
				"Content-Transfer-Encoding: base64", "", strings.Repeat("/", 76), "/w0K",
			),
		},
		{
			"text with a bare LF",
			"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n\xff\n",
			lines(
				"MIME-Version: 1.0", "Content-Type: text/plain",
				"Content-Transfer-Encoding: base64", "", "/wo=",
			),
		},
		{
			"type without a slash",
			lines("Content-Type: text", "", "\xff"),
			lines(
				"Content-Type: text", "MIME-Version: 1.0",
				"Content-Transfer-Encoding: quoted-printable", "", "=FF",
			),
		},
		{
			"multipart",
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=\"a b\"",
				"Content-Transfer-Encoding: 8bit", "", "pr\u00e9", "--a b", "",
				"plain", "--a b", "Content-Type: application/pdf",
				"Content-Transfer-Encoding: 8bit", "", "\xff\xfe", "--a b  ",
				"Content-Transfer-Encoding: 8bit", "",
				"only ASCII", "--a b", "Content-Transfer-Encoding: base64", "", "/w==", "--a b", "",
				"d\u00e9j\u00e0", "--a b--", "\u00e9pi"),
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=\"a b\"",
				"Content-Transfer-Encoding: 7bit", "", "pr??", "--a b", "",
				"plain", "--a b", "Content-Type: application/pdf",
				"Content-Transfer-Encoding: base64", "", "//4=", "--a b  ",
				"Content-Transfer-Encoding: 7bit", "",
				"only ASCII", "--a b", "Content-Transfer-Encoding: base64", "", "/w==", "--a b",
				"Content-Type: text/plain; charset=utf-8",
				"Content-Transfer-Encoding: quoted-printable", "",
				"d=C3=A9j=C3=A0", "--a b--", "??pi"),
		},
		{
			"inner boundary longer than the outer, and not closed",
			lines(
				"Content-Type: multipart/mixed; boundary=b", "", "--b",
				"Content-Type: multipart/alternative; boundary=b1", "", "--b1", "", "\u00e9",
				"--b1", "", "--b12", "--b", "", "x", "--b--",
			),
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: "+
				"multipart/alternative; boundary=b1", "", "--b1",
				"Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: "+
					"quoted-printable", "", "=C3=A9", "--b1", "", "--b12", "--b", "", "x", "--b--"),
		},
		{
			"header cut short by a delimiter",
			lines(
				"Content-Type: multipart/mixed; boundary=b", "", "--b", "", "\u00e9", "--b",
				"Content-Transfer-Encoding: 8bit", "--b", "", "x", "--b--",
			),
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: "+
				"text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "",
				"=C3=A9", "--b", "Content-Transfer-Encoding: 7bit", "--b", "", "x", "--b--"),
		},
		{
			"attached message",
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", "--b",
				"Content-Type: message/rfc822", "Content-Transfer-Encoding: 8bit", "",
				"Subject: inner", "", "\u00e9", "--b--"),
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", "--b",
				"Content-Type: message/rfc822", "Content-Transfer-Encoding: 7bit", "",
				"Subject: inner", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8",
				"Content-Transfer-Encoding: quoted-printable", "", "=C3=A9", "--b--"),
		},
		{
			"digest",
			lines(
				"MIME-Version: 1.0", "Content-Type: multipart/digest; boundary=b", "", "--b", "",
				"Subject: inner", "", "\xff", "--b--",
			),
			lines("MIME-Version: 1.0", "Content-Type: multipart/digest; boundary=b", "", "--b", "",
				"Subject: inner",
				"MIME-Version: 1.0", "Content-Type: text/plain; charset=unknown-8bit",
				"Content-Transfer-Encoding: quoted-printable", "", "=FF", "--b--"),
		},
		{
			"attached message whose type is followed by what is no field",
			lines(
				"Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type:",
				" message/rfc822", "odd", "Content-Type: text/plain", "", "Subject: \u00e9",
				"--b--",
			),
			lines(
				"Content-Type: multipart/mixed; boundary=b", "", "--b",
				"Content-Type: message/global", "odd", "Content-Transfer-Encoding: base64", "",
				wrap("Subject: \u00e9"), "--b--",
			),
		},
		{
			"digest of a message without any header",
			lines("Content-Type: multipart/digest; boundary=b", "", "--b", "\u00e9", "--b--"),
			lines("Content-Type: multipart/digest; boundary=b", "", "--b", "", "MIME-Version: 1.0",
				"Content-Type: text/plain; charset=utf-8",
				"Content-Transfer-Encoding: quoted-printable", "", "=C3=A9", "--b--"),
		},
		{
			"attached message with an 8-bit header",
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", "--b",
				"Content-Type: message/rfc822", "",
				"Subject: \u00e9", "Content-Type: multipart/mixed; boundary=c", "", "--c", "", "x",
				"--c--", "--b", "", "\u00e9", "--b--"),
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", "--b",
				"Content-Type: message/global", "Content-Transfer-Encoding: base64", "",
				wrap(
					strings.TrimSuffix(
						lines(
							"Subject: \u00e9", "Content-Type: multipart/mixed; boundary=c", "",
							"--c", "", "x", "--c--",
						),
						"\r\n",
					),
				),
				"--b", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: "+
					"quoted-printable", "", "=C3=A9", "--b--"),
		},
		{
			"attached message that cannot be converted inside",
			lines(
				"MIME-Version: 1.0", "Content-Type: multipart/digest; boundary=b", "", "--b", "",
				"Content-Type: multipart/mixed", "", "\u00e9", "--b", "", "A: b", "", "\u00e9",
				"--b--",
			),
			lines("MIME-Version: 1.0", "Content-Type: multipart/digest; boundary=b", "", "--b",
				"Content-Type: message/global", "Content-Transfer-Encoding: base64", "",
				wrap("Content-Type: multipart/mixed\r\n\r\n\u00e9"),
				"--b", "", "A: b", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8",
				"Content-Transfer-Encoding: quoted-printable", "", "=C3=A9", "--b--"),
		},
		{
			"base64 behind an attached message with an 8-bit header",
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: "+
				"message/rfc822", "", "Subject: \u00e9", "", "\u00e9", "--b",
				"Content-Type: application/pdf", "Content-Transfer-Encoding: base64", "", "AAAA",
				"--b", "Content-Type: message/rfc822", "", "A: b", "", "x", "--b", "", "x",
				"--b--"),
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: "+
				"message/global", "Content-Transfer-Encoding: base64", "",
				wrap("Subject: \u00e9\r\n\r\n\u00e9"), "--b",
				"Content-Type: application/pdf", "Content-Transfer-Encoding: base64", "", "AAAA",
				"--b", "Content-Type: message/rfc822", "", "A: b", "", "x", "--b", "", "x",
				"--b--"),
		},
		{
			"text that would become delimiters",
			lines(
				"Content-Type: multipart/mixed; boundary=\"b=FF\"", "", "--b=FF",
				"Content-Type: text/x", "", strings.Repeat("x", 75)+"--b=FF", "--b\xff",
				strings.Repeat("-", 80), "--b=FF--",
			),
			lines("Content-Type: multipart/mixed; boundary=\"b=FF\"", "", "--b=FF",
				"Content-Type: text/x", "Content-Transfer-Encoding: quoted-printable", "",
				strings.Repeat("x", 75)+"=", "=2D-b=3DFF", "=2D-b=FF", "=2D=", "=2D=", "=2D"+
					strings.Repeat("-", 72)+"=", "=2D----", "--b=FF--"),
		},
		{
			"filler that would become a delimiter",
			lines(
				"Content-Type: multipart/mixed; boundary=\"b?\"", "", "--b\xff", "--b?", "", "x",
				"--b?--", "--b\xff",
			),
			lines(
				"Content-Type: multipart/mixed; boundary=\"b?\"", "", "?-b?", "--b?", "", "x",
				"--b?--", "?-b?",
			),
		},
		{
			"delimiters without CRLF",
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: " +
				"image/png\r\n\r\n\xff\r\n--b\nfoo: bar\r\n\r\n--b\r\r\nx\r\n--b--",
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: " +
				"image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
				wrap("\xff\r\n--b\nfoo: bar\r\n\r\n--b\r\r\nx") + "\r\n--b--",
		},
		{
			"multipart that does not begin",
			lines(
				"Content-Type: multipart/mixed; boundary=b", "", "--b",
				"Content-Type: multipart/mixed; boundary=c", "", "e", "--b", "", "\u00e9", "--b--",
			),
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: "+
				"multipart/mixed; boundary=c", "", "e", "--b",
				"Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: "+
					"quoted-printable", "", "=C3=A9", "--b--"),
		},
		{
			"attached multipart that does not begin",
			lines(
				"Content-Type: multipart/digest; boundary=b", "", "--b", "",
				"Content-Type: multipart/mixed; boundary=c", "", "\u00e9", "--b", "", "A: b", "",
				"x", "--b--",
			),
			lines("Content-Type: multipart/digest; boundary=b", "", "--b", "Content-Type: "+
				"message/global", "Content-Transfer-Encoding: base64", "",
				wrap(
					"Content-Type: multipart/mixed; boundary=c\r\n\r\n\u00e9",
				), "--b", "", "A: b", "", "x", "--b--"),
		},
		{
			"8-bit message/delivery-status",
			lines(
				"MIME-Version: 1.0", "Content-Type: message/global-delivery-status", "", "\u00e9",
			),
			lines(
				"MIME-Version: 1.0", "Content-Type: message/global-delivery-status",
				"Content-Transfer-Encoding: base64", "", "w6kNCg==",
			),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := convert(t, c.in); got != c.want || err != nil {
				t.Errorf("%v\ngot  %q\nwant %q", err, got, c.want)
			}
		})
	}
}

// wrap is base64 in lines.
func wrap(s string) string {
	b := base64.StdEncoding.EncodeToString([]byte(s))
	var out []string
	for ; len(b) > 76; b = b[76:] {
		out = append(out, b[:76])
	}
	return strings.Join(append(out, b), "\r\n")
}

const (
	mixed   = "Content-Type: multipart/mixed; boundary=b"
	labelQP = "Content-Transfer-Encoding: quoted-printable"
)

// What claims an encoding it has not, or may have none, leaves as it came; what
// DATA cannot carry there does not leave.
func TestMislabelled(t *testing.T) {
	deep := "MIME-Version: 1.0\r\n"
	for i := range 101 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%[1]d\r\n", i)
	}
	for _, c := range []struct{ name, in string }{
		{"no boundary", lines("Content-Type: multipart/mixed", "", "\u00e9")},
		{
			"odd boundary",
			lines("Content-Type: multipart/mixed; boundary==_x", "", "--=_x", "", "\u00e9"),
		},
		{
			"long boundary",
			lines("Content-Type: multipart/mixed; boundary="+strings.Repeat("b", 201), "", "é"),
		},
		{
			"8-bit boundary",
			lines("Content-Type: multipart/mixed; boundary=\"\u00e9\"", "", "--\u00e9", "", "x"),
		},
		{
			"encoded multipart",
			lines(mixed, "Content-Transfer-Encoding: base64", "",
				"--b", "", "\u00e9", "--b--"),
		},
		{
			"quoted-printable multipart",
			lines(mixed, labelQP, "",
				"--b", "", "\u00e9", "--b--"),
		},
		{"false base64", lines("Content-Transfer-Encoding: base64", "", "\u00e9")},
		{"unknown encoding", lines("Content-Transfer-Encoding: x-uuencode", "", "\u00e9")},
		{"partial", lines("Content-Type: message/partial; id=x; number=1", "", "\u00e9")},
		{"depth", deep + "\r\n\u00e9\r\n"},
		{
			"parts",
			lines(mixed, "") + strings.Repeat("--b\r\n\r\n", 10001) + "\u00e9\r\n",
		},
		{
			"long type with the only one",
			lines("Content-Type: text/plain; x=\""+strings.Repeat("x", 9000)+"\u00e9\"", "", "x"),
		},
		{
			"long type",
			lines("Content-Type: text/plain;"+strings.Repeat(" x=y;\r\n", 2000)+" z=z", "", "é"),
		},
		{"multipart that does not begin", lines(mixed, "", "\u00e9", "--b1")},
		{"multipart that ends at once", lines(mixed, "", "\u00e9", "--b--")},
		{
			"inner multipart that does not begin",
			lines(mixed, "", "--b", "Content-Type: multipart/mixed; boundary=c", "",
				"\u00e9", "--b", "", "x"),
		},
		{
			"labels that are true",
			lines(mixed, "Content-Transfer-Encoding: 8bit", "", "--b",
				"Content-Transfer-Encoding: base64", "", "\u00e9", "--b--"),
		},
		{"header: address", lines("From: \u00e9@example.test", "", "x")},
		{"header: line that is no field", lines("Subject: x", "\u00e9", "", "x")},
		{"header: long field", "Subject:" + strings.Repeat(" x\u00e9\r\n", 20_000) + "\r\nx\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := convert(t, c.in); got != c.in || err != nil {
				t.Errorf("%v\ngot  %.1000q\nwant %.1000q", err, got, c.in)
			}
			plain := strings.ReplaceAll(c.in, "\u00e9", "e")
			plan, err := sevenbit.Scan(strings.NewReader(plain))
			if err != nil || plan.Eight() || plan.EightHeader() {
				t.Errorf("without: %v, 8-bit %v", err, plan.Eight())
			}
			if strings.HasPrefix(c.name, "header: ") {
				return
			}
			for _, odd := range []string{"\u00e9\n", "\u00e9\r", "\u00e9\x00"} {
				in := strings.ReplaceAll(c.in, "\u00e9", odd)
				plan, err := sevenbit.Scan(strings.NewReader(in))
				if err != nil || !errors.Is(plan.Err(), sevenbit.ErrUnfit) {
					t.Errorf("with %q: %v, %v", odd, err, plan.Err())
				}
			}
		})
	}
	long := "Content-Type: x;" + strings.Repeat(" x=y;\r\n", 2000) + " z=z\r\n" +
		"Subject: \u00e9\r\n\r\nx\r\n"
	plan, err := sevenbit.Scan(strings.NewReader(long))
	if err != nil || plan.Err() != nil || !plan.EightHeader() {
		t.Errorf("behind a long field: %v, %v, %v", err, plan.Err(), plan.EightHeader())
	}
	plan, err = sevenbit.Scan(strings.NewReader("Subject: x\nTo: y\r\n\r\n\u00e9\r\n"))
	if err != nil || !errors.Is(plan.Err(), sevenbit.ErrUnfit) {
		t.Errorf("bare LF in a header: %v, %v", err, plan.Err())
	}
}

// All that can be encoded beside what is mislabelled is. Raw octets in
// quoted-printable are encoded as well.
func TestBesideMislabelled(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{
			"a part",
			lines("Subject: \u00e9", mixed, "", "--b", "", "\u00e9",
				"--b", "Content-Transfer-Encoding: base64", "", "\u00e9", "--b--", "\u00e9"),
			lines("Subject: =?utf-8?q?=C3=A9?=", mixed, "", "--b",
				"Content-Type: text/plain; charset=utf-8", labelQP, "", "=C3=A9",
				"--b", "Content-Transfer-Encoding: base64", "", "\u00e9", "--b--", "??"),
		},
		{
			"quoted-printable",
			lines(mixed, "", "--b",
				"content-transfer-encoding: QUOTED-printable", "",
				"gr\u00fcn =3D =", "soft", ".", "--b--"),
			lines(mixed, "", "--b",
				"content-transfer-encoding: QUOTED-printable", "",
				"gr=C3=BCn =3D =", "soft", ".", "--b--"),
		},
		{
			"quoted-printable, long, and like a delimiter",
			lines(mixed, "", "--b",
				labelQP, "",
				strings.Repeat("\xfc", 25)+"--b", strings.Repeat("\xfc", 24), "x", "--b--"),
			lines(mixed, "", "--b",
				labelQP, "",
				strings.Repeat("=FC", 25)+"=", "=2D-b", strings.Repeat("=FC", 24), "x", "--b--"),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := convert(t, c.in); got != c.want || err != nil {
				t.Errorf("%v\ngot  %q\nwant %q", err, got, c.want)
			}
		})
	}
}

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

// The errors of the content's reader are handed on, and a content that changes
// on the way is not passed on as 7-bit.
func TestReadErrors(t *testing.T) {
	const content = "Subject: x\r\n\r\n\u00e9\r\n"
	broken := func(s string) io.Reader {
		return io.MultiReader(strings.NewReader(s), iotest.ErrReader(io.ErrClosedPipe))
	}
	for _, s := range []string{
		"", "Subject: ", content, "Content-Type: message/partial\r\n\r\n", "Subject: x\nbare\r\n",
	} {
		if _, err := sevenbit.Scan(broken(s)); err != io.ErrClosedPipe {
			t.Errorf("%q: %v", s, err)
		}
	}
	plan, err := sevenbit.Scan(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(plan.Reader(broken(content), false)); err != io.ErrClosedPipe {
		t.Error(err)
	}
	for _, other := range []string{
		"Subject: \u00e9\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\u00e9",
	} {
		out, err := io.ReadAll(plan.Reader(strings.NewReader(other), false))
		if err == nil || !sevenbit.ASCII(out) {
			t.Errorf("%q became %q, %v", other, out, err)
		}
	}
}

// tree writes a random entity and returns the bodies of its leaves as they were
// before any encoding.
type tree struct {
	*rand.Rand
	out      bytes.Buffer
	leaves   []string
	boundary int
}

func (g *tree) choose(s ...string) string { return s[g.IntN(len(s))] }

func (g *tree) entity(depth int, message bool) {
	if message {
		g.out.WriteString(g.choose("Subject: x\r\n", "Subject: x\r\n\tfolded\r\nX-Y:z\r\n"))
		if g.out.Len() > 30 { // attached
			g.out.WriteString(g.choose("", "", "X-Raw: \u00e9\r\n"))
		}
		g.out.WriteString("MIME-Version: 1.0\r\n")
	}
	switch n := g.IntN(8); {
	case depth > 0 && n < 3:
		g.boundary++
		b := fmt.Sprintf("b%d", g.boundary)
		fmt.Fprintf(
			&g.out, "Content-Type: multipart/mixed;\r\n boundary=%s\r\n%s\r\n",
			g.choose(b, `"`+b+`"`),
			g.choose(
				"", "Content-Transfer-Encoding: 8bit\r\n", "Content-Transfer-Encoding: binary\r\n",
			),
		)
		g.out.WriteString(g.choose("", "preamble\r\n", "pr\u00e9ambule\r\n"))
		for range 1 + g.IntN(3) {
			g.out.WriteString("--" + b + g.choose("", " \t") + "\r\n")
			g.entity(depth-1, false)
			g.out.WriteString("\r\n")
		}
		g.out.WriteString("--" + b + "--" + g.choose("", "\r\n", "\r\n\u00e9pilogue"))
	case depth > 0 && n == 3:
		g.out.WriteString(
			"Content-Type: message/rfc822\r\n" + g.choose(
				"", "Content-Transfer-Encoding: 8bit\r\n",
			) + "\r\n",
		)
		g.entity(depth-1, true)
	default:
		g.leaf()
	}
}

func (g *tree) leaf() {
	var body bytes.Buffer
	for range g.IntN(6) {
		switch g.IntN(7) {
		case 0:
			for range g.IntN(200) {
				body.WriteByte(byte(g.IntN(256)))
			}
		case 1:
			body.WriteString(strings.Repeat("\u00e9 ", g.IntN(1500)))
		case 2:
			body.WriteString("--b" + fmt.Sprint(g.boundary+1) + "\r\n")
		case 3:
			body.WriteString(strings.Repeat("x", 16380+g.IntN(8)))
		case 4:
			body.WriteString("trailing \t\r\n.\r\n")
		default:
			body.WriteString("some text, more = text\r\n\r\n")
		}
	}
	b := body.String()
	g.leaves = append(g.leaves, b)
	g.out.WriteString(
		g.choose(
			"Content-Type: text/plain; charset=x\r\n", "Content-Type: image/png\r\n",
			"content-type: Text/HTML\r\n", "",
		),
	)
	switch g.IntN(4) {
	case 0:
		g.out.WriteString("Content-Transfer-Encoding: base64\r\n\r\n" + wrap(b))
	case 1:
		g.out.WriteString("Content-Transfer-Encoding: Quoted-Printable\r\n\r\n")
		w := quotedprintable.NewWriter(&g.out)
		w.Binary = true
		w.Write([]byte(b))
		w.Close()
	default:
		g.out.WriteString(
			g.choose(
				"Content-Transfer-Encoding: 8bit\r\n", "Content-Transfer-Encoding: BINARY\r\n",
				"Content-Transfer-Encoding: 7bit\r\n", "",
			) + "\r\n" + b,
		)
	}
}

// leavesOf reads a message with the standard library.
func leavesOf(t *testing.T, h textproto.MIMEHeader, body io.Reader) (leaves []string) {
	t.Helper()
	mediaType, params, _ := mime.ParseMediaType(h.Get("Content-Type"))
	switch strings.ToLower(h.Get("Content-Transfer-Encoding")) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	switch {
	case mediaType == "message/rfc822", mediaType == "message/global":
		m, err := mail.ReadMessage(body)
		if err != nil {
			t.Fatal(err)
		}
		return leavesOf(t, textproto.MIMEHeader(m.Header), m.Body)
	case strings.HasPrefix(mediaType, "multipart/"):
		r := multipart.NewReader(body, params["boundary"])
		for {
			p, err := r.NextRawPart()
			if err == io.EOF {
				return leaves
			}
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leavesOf(t, p.Header, p)...)
		}
	}
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return []string{string(b)}
}

// Any message is 7-bit afterwards, with legal lines, and decodes to the octets
// it had.
func TestRandomTrees(t *testing.T) {
	for seed := range uint64(3000) {
		g := &tree{Rand: rand.New(rand.NewPCG(seed, 1))}
		g.entity(4, true)
		out, err := convert(t, g.out.String())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for line := range strings.SplitSeq(out, "\r\n") {
			if len(line) > 998 || !sevenbit.ASCII([]byte(line)) ||
				strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("seed %d: line %q", seed, line)
			}
		}
		m, err := mail.ReadMessage(strings.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		got := leavesOf(t, textproto.MIMEHeader(m.Header), m.Body)
		if len(got) != len(g.leaves) {
			t.Fatalf(
				"seed %d: %d leaves, want %d\n%q\n%q", seed, len(got), len(g.leaves),
				g.out.String(), out,
			)
		}
		for i := range got {
			if got[i] != g.leaves[i] {
				t.Fatalf("seed %d, leaf %d: %q, want %q", seed, i, got[i], g.leaves[i])
			}
		}
		if again, err := convert(t, out); again != out || err != nil {
			t.Fatalf("seed %d: converted again %q, %v", seed, again, err)
		}
	}
}

// structure lists the entities of a message as one who has all of it at hand
// reads them: how deep they lie, their types, and the decoded bodies of leaves.
func structure(content string) (list []string) {
	var read func(depth int, s, mediaType string)
	read = func(depth int, s, mediaType string) {
		mediaType, boundary, enc, body := parse(s, mediaType)
		decoded := decode(enc, body)
		if mediaType == "message/global" {
			mediaType = "message/rfc822"
		}
		at := len(list)
		list = append(list, fmt.Sprint(depth, " ", mediaType))
		switch {
		case mediaType == "message/rfc822":
			read(depth+1, decoded, "text/plain")
			return
		case boundary != "" && decoded == body:
			inner := "text/plain"
			if mediaType == "multipart/digest" {
				inner = "message/rfc822"
			}
			for _, p := range split(body, boundary) {
				read(depth+1, p, inner)
			}
		}
		if len(list) == at+1 {
			list[at] += fmt.Sprintf(" %q", decoded)
		}
	}
	read(0, content, "text/plain")
	return list
}

// parse parts the header from the body.
func parse(s, defaultType string) (mediaType, boundary, enc, body string) {
	values := map[string]string{}
	name := ""
	for n := 0; s != ""; n++ {
		line, rest, _ := strings.Cut(s, "\r\n")
		before, after, ok := strings.Cut(line, ":")
		before = strings.ToLower(strings.TrimRight(before, " \t"))
		switch field := ok && before != "" &&
			strings.IndexFunc(before, func(r rune) bool { return r <= ' ' || r > '~' }) < 0; {
		case strings.HasPrefix(s, "\r\n"):
			body, s, rest = rest, "", ""
		case n == 0 && !field:
			body, s, rest = s, "", ""
		case line[0] == ' ' || line[0] == '\t':
			values[name] += line
		default:
			if name = before; values[name] != "" || !field {
				name = "-"
			}
			values[name] += " " + after
		}
		s = rest
	}
	mediaType = defaultType
	if v := values["content-type"]; v != "" {
		mediaType, _, _ = strings.Cut(v, ";")
		mediaType, _, _ = strings.Cut(mediaType, "(")
		mediaType = strings.ToLower(strings.TrimSpace(mediaType))
		if _, params, err := mime.ParseMediaType(v); err == nil &&
			strings.HasPrefix(mediaType, "multipart/") {
			boundary = params["boundary"]
		}
	}
	enc, _, _ = strings.Cut(values["content-transfer-encoding"], "(")
	return mediaType, boundary, strings.ToLower(strings.Trim(enc, "; \t")), body
}

// decode returns a body in base64 that is not well encoded as it is. Of
// quoted-printable it takes what can be read, as mail programs do.
func decode(enc, body string) string {
	switch enc {
	case "base64":
		r := base64.NewDecoder(base64.StdEncoding, strings.NewReader(body))
		if b, err := io.ReadAll(r); err == nil {
			return string(b)
		}
	case "quoted-printable":
		var out []byte
		for line := range strings.SplitAfterSeq(body, "\r\n") {
			text, end := strings.TrimSuffix(line, "\r\n"), ""
			if text != line {
				end = "\r\n"
			}
			text = strings.TrimRight(text, " \t")
			if soft, ok := strings.CutSuffix(text, "="); ok {
				text, end = soft, ""
			}
			for ; text != ""; text = text[1:] {
				var c []byte
				if text[0] == '=' && len(text) > 2 {
					c, _ = hex.DecodeString(text[1:3])
				}
				if len(c) == 0 {
					out = append(out, text[0])
					continue
				}
				out, text = append(out, c...), text[2:]
			}
			out = append(out, end...)
		}
		return string(out)
	}
	return body
}

// split parts the body of a multipart.
func split(body, boundary string) (parts []string) {
	from, at := -1, 0
	for line := range strings.SplitAfterSeq(body, "\r\n") {
		rest, ok := strings.CutPrefix(
			strings.TrimRight(strings.TrimSuffix(line, "\r\n"), " \t"), "--"+boundary,
		)
		if ok = ok && (rest == "" || rest == "--" && from >= 0); ok && from >= 0 {
			parts = append(parts, strings.TrimSuffix(body[from:at], "\r\n"))
		}
		at += len(line)
		if ok && rest == "--" {
			return parts
		}
		if ok {
			from = at
		}
	}
	if from >= 0 {
		parts = append(parts, body[from:])
	}
	return parts
}

// A message has the same structure afterwards, also if its text is made of what
// delimiters are made of.
func TestSameStructure(t *testing.T) {
	var converted int
	for seed := range uint64(6000) {
		g := &tree{Rand: rand.New(rand.NewPCG(seed, 3))}
		g.knot(3, nil)
		in := g.out.String()
		out, err := convert(t, in)
		if err != nil {
			continue
		}
		if out != in {
			converted++
		}
		if !slices.Equal(structure(in), structure(out)) {
			t.Fatalf("seed %d: %q became %q\n%q\n%q", seed, in, out, structure(in), structure(out))
		}
	}
	if converted < 3000 {
		t.Errorf("only %d messages were converted", converted)
	}
}

// knot writes an entity whose boundaries are hard to tell apart.
func (g *tree) knot(depth int, open []string) {
	boundaries := []string{
		"b", "=_x", "-", "--", "b--", "=FF", "b=20", "=3D", "?", "b?", "x=", "2D", "=2D-",
		strings.Repeat("x", 73) + "=",
	}
	switch n := g.IntN(6); {
	case depth > 0 && (n < 3 || open == nil):
		b := g.choose(boundaries...)
		open = append(open[:len(open):len(open)], b)
		fmt.Fprintf(
			&g.out, "Content-Type: multipart/%s; boundary=\"%s\"\r\n%s\r\n",
			g.choose("mixed", "mixed", "digest"), b,
			g.choose("", "Content-Transfer-Encoding: 8bit\r\n"),
		)
		g.pieces(open, g.IntN(3))
		for range 1 + g.IntN(3) {
			g.out.WriteString("\r\n--" + b + "\r\n")
			g.knot(depth-1, open)
		}
		g.out.WriteString(g.choose("", "\r\n--"+b+"--\r\n"))
		g.pieces(open, g.IntN(3))
	case depth > 0 && n == 3:
		g.out.WriteString(
			"Content-Type: message/rfc822\r\n\r\n" + g.choose("", "", "X: \u00e9\r\n"),
		)
		g.knot(depth-1, open)
	default:
		g.out.WriteString(
			g.choose("Content-Type: text/plain\r\n", "Content-Type: image/png\r\n", "") + "\r\n",
		)
		g.pieces(open, g.IntN(9))
	}
}

func (g *tree) pieces(open []string, n int) {
	for range n {
		g.out.WriteString(
			g.choose(
				"\xff", "\xff", "--", "-", "--", "\r\n", "\r\n", "\n", " ", "=", "FF", "?", "x",
				strings.Repeat("x", 74), strings.Repeat("x", 75), strings.Repeat("-", 76),
				g.choose(append(open, "b")...),
			),
		)
	}
}

func FuzzConvert(f *testing.F) {
	for seed := range uint64(20) {
		g := &tree{Rand: rand.New(rand.NewPCG(seed, 2))}
		g.entity(3, true)
		f.Add(g.out.String())
		g.out.Reset()
		g.knot(3, nil)
		f.Add(g.out.String())
	}
	f.Add("Content-Type: message/rfc822\r\n\r\nA: \xff\r\n\r\nx")
	f.Add(
		"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nContent-Type: " +
			"multipart/mixed\r\n\r\n\xff\r\n--b\r\n\r\n\r\n\xff\r\n--b--\r\n",
	)
	f.Fuzz(func(t *testing.T, in string) {
		out, err := convert(t, in)
		if err != nil {
			return
		}
		if len(out) > 20*len(in)+200*(1+strings.Count(in, "\n")) {
			t.Fatalf("%d octets became %d", len(in), len(out))
		}
		if again, err := convert(t, out); again != out || err != nil {
			t.Fatalf("%q became %q, then %q (%v)", in, out, again, err)
		}
		if a, b := structure(in), structure(out); !slices.Equal(a, b) {
			t.Fatalf("%q became %q\n%q\n%q", in, out, a, b)
		}
	})
}

// Memory does not grow with the message.
func TestMemory(t *testing.T) {
	content := func(n int64) io.Reader {
		return io.MultiReader(strings.NewReader("Subject: x\r\n\r\n"), io.LimitReader(endless{}, n))
	}
	used := func(n int64) float64 {
		return testing.AllocsPerRun(1, func() {
			plan, err := sevenbit.Scan(content(n))
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, plan.Reader(content(n), false)); err != nil || n == 0 {
				t.Fatal(n, err)
			}
		})
	}
	if small, large := used(1<<10), used(8<<20); large > small+20 {
		t.Errorf("%v allocations for 1 KiB, %v for 8 MiB", small, large)
	}
}

// endless is one line of 8-bit text without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "na\u00efve "[i%7]
	}
	return len(p), nil
}

func BenchmarkConvert(b *testing.B) {
	line := strings.Repeat("na\u00efve text of a usual kind ", 3)[:76] + "\r\n"
	text := "Subject: x\r\n\r\n" + strings.Repeat(line, 1<<20/len(line))
	clean := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1<<20/78)
	binary := "Subject: x\r\nContent-Type: image/png\r\n\r\n" + strings.Repeat(
		"\xff\xfe\x01\x02"+strings.Repeat("\x80", 60)+"\r\n", 1<<20/66,
	)
	for _, c := range []struct{ name, content string }{{"text", text}, {"binary", binary}} {
		b.Run(c.name, func(b *testing.B) {
			plan, err := sevenbit.Scan(strings.NewReader(c.content))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(c.content)))
			b.ReportAllocs()
			for b.Loop() {
				r := plan.Reader(strings.NewReader(c.content), false)
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("scan", func(b *testing.B) {
		b.SetBytes(int64(len(clean)))
		b.ReportAllocs()
		for b.Loop() {
			if plan, err := sevenbit.Scan(strings.NewReader(clean)); err != nil || plan.Eight() {
				b.Fatal(err)
			}
		}
	})
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
			few, many := quickest(8<<10), quickest(32<<10)
			if many > 10*few+50*time.Millisecond {
				t.Errorf("%s, %q took %v, and %v for a quarter of it", name, piece, many, few)
			}
		}
	}
}
