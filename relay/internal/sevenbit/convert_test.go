package sevenbit_test

import (
	"encoding/base64"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

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
