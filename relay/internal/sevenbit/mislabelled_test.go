package sevenbit_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/internal/sevenbit"
)

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
