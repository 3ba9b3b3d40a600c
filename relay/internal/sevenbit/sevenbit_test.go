package sevenbit_test

import (
	"bytes"
	"encoding/base64"
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
	out, err := io.ReadAll(plan.Reader(iotest.HalfReader(strings.NewReader(content))))
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
			lines("Subject: x", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "",
				"gr=C3=BCn =3D green=20", "end"),
		},
		{
			"no MIME, Latin-1, no line end",
			"Subject: x\r\n\r\ngr\xfcn",
			"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=FCn",
		},
		{
			"cut character",
			lines("Subject: x", "", "a\u00fc\xc3"),
			lines("Subject: x", "MIME-Version: 1.0", "Content-Type: text/plain; charset=unknown-8bit", "Content-Transfer-Encoding: quoted-printable", "", "a=C3=BC=C3"),
		},
		{
			"no header",
			"gr\u00fcn\r\n",
			lines("MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "", "gr=C3=BCn"),
		},
		{
			"label replaced where it stands, and once",
			lines("MIME-Version: 1.0", "content-transfer-encoding:", "\t8BIT (really)", "Content-Transfer-Encoding: 7bit", "Content-Type: text/html; charset=iso-8859-1", "", "<p>\xfc"),
			lines("MIME-Version: 1.0", "Content-Transfer-Encoding: quoted-printable", "Content-Type: text/html; charset=iso-8859-1", "", "<p>=FC"),
		},
		{
			"not text",
			lines("MIME-Version: 1.0", "Content-Type: application/x", "Content-Transfer-Encoding: binary", "", strings.Repeat("\xff", 58)),
			lines("MIME-Version: 1.0", "Content-Type: application/x", "Content-Transfer-Encoding: base64", "", strings.Repeat("/", 76), "/w0K"),
		},
		{
			"text with a bare LF",
			"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n\xff\n",
			lines("MIME-Version: 1.0", "Content-Type: text/plain", "Content-Transfer-Encoding: base64", "", "/wo="),
		},
		{
			"type without a slash",
			lines("Content-Type: text", "", "\xff"),
			lines("Content-Type: text", "MIME-Version: 1.0", "Content-Transfer-Encoding: quoted-printable", "", "=FF"),
		},
		{
			"multipart",
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=\"a b\"", "Content-Transfer-Encoding: 8bit", "", "pr\u00e9", "--a b", "",
				"plain", "--a b", "Content-Type: application/pdf", "Content-Transfer-Encoding: 8bit", "", "\xff\xfe", "--a b  ", "Content-Transfer-Encoding: 8bit", "",
				"only ASCII", "--a b", "Content-Transfer-Encoding: base64", "", "/w==", "--a b", "", "d\u00e9j\u00e0", "--a b--", "\u00e9pi"),
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=\"a b\"", "Content-Transfer-Encoding: 7bit", "", "pr??", "--a b", "",
				"plain", "--a b", "Content-Type: application/pdf", "Content-Transfer-Encoding: base64", "", "//4=", "--a b  ", "Content-Transfer-Encoding: 7bit", "",
				"only ASCII", "--a b", "Content-Transfer-Encoding: base64", "", "/w==", "--a b", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "",
				"d=C3=A9j=C3=A0", "--a b--", "??pi"),
		},
		{
			"inner boundary longer than the outer, and not closed",
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: multipart/alternative; boundary=b1", "", "--b1", "", "\u00e9", "--b1", "", "--b12", "--b", "", "x", "--b--"),
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: multipart/alternative; boundary=b1", "", "--b1",
				"Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "", "=C3=A9", "--b1", "", "--b12", "--b", "", "x", "--b--"),
		},
		{
			"header cut short by a delimiter",
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "", "\u00e9", "--b", "Content-Transfer-Encoding: 8bit", "--b", "", "x", "--b--"),
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "",
				"=C3=A9", "--b", "Content-Transfer-Encoding: 7bit", "--b", "", "x", "--b--"),
		},
		{
			"attached message",
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: message/rfc822", "Content-Transfer-Encoding: 8bit", "",
				"Subject: inner", "", "\u00e9", "--b--"),
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: message/rfc822", "Content-Transfer-Encoding: 7bit", "",
				"Subject: inner", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "", "=C3=A9", "--b--"),
		},
		{
			"digest",
			lines("MIME-Version: 1.0", "Content-Type: multipart/digest; boundary=b", "", "--b", "", "Subject: inner", "", "\xff", "--b--"),
			lines("MIME-Version: 1.0", "Content-Type: multipart/digest; boundary=b", "", "--b", "", "Subject: inner",
				"MIME-Version: 1.0", "Content-Type: text/plain; charset=unknown-8bit", "Content-Transfer-Encoding: quoted-printable", "", "=FF", "--b--"),
		},
		{
			"attached message whose type is followed by what is no field",
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type:", " message/rfc822", "odd", "Content-Type: text/plain", "", "Subject: \u00e9", "--b--"),
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: message/global", "odd", "Content-Transfer-Encoding: base64", "", wrap("Subject: \u00e9"), "--b--"),
		},
		{
			"digest of a message without any header",
			lines("Content-Type: multipart/digest; boundary=b", "", "--b", "\u00e9", "--b--"),
			lines("Content-Type: multipart/digest; boundary=b", "", "--b", "", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8",
				"Content-Transfer-Encoding: quoted-printable", "", "=C3=A9", "--b--"),
		},
		{
			"attached message with an 8-bit header",
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: message/rfc822", "",
				"Subject: \u00e9", "Content-Type: multipart/mixed; boundary=c", "", "--c", "", "x", "--c--", "--b", "", "\u00e9", "--b--"),
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: message/global", "Content-Transfer-Encoding: base64", "",
				wrap(strings.TrimSuffix(lines("Subject: \u00e9", "Content-Type: multipart/mixed; boundary=c", "", "--c", "", "x", "--c--"), "\r\n")),
				"--b", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "", "=C3=A9", "--b--"),
		},
		{
			"attached message that cannot be converted inside",
			lines("MIME-Version: 1.0", "Content-Type: multipart/digest; boundary=b", "", "--b", "", "Content-Type: multipart/mixed", "", "\u00e9", "--b", "", "A: b", "", "\u00e9", "--b--"),
			lines("MIME-Version: 1.0", "Content-Type: multipart/digest; boundary=b", "", "--b", "Content-Type: message/global", "Content-Transfer-Encoding: base64", "",
				wrap("Content-Type: multipart/mixed\r\n\r\n\u00e9"),
				"--b", "", "A: b", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "", "=C3=A9", "--b--"),
		},
		{
			"base64 behind an attached message with an 8-bit header",
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: message/rfc822", "", "Subject: \u00e9", "", "\u00e9", "--b",
				"Content-Type: application/pdf", "Content-Transfer-Encoding: base64", "", "AAAA", "--b", "Content-Type: message/rfc822", "", "A: b", "", "x", "--b", "", "x", "--b--"),
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: message/global", "Content-Transfer-Encoding: base64", "", wrap("Subject: \u00e9\r\n\r\n\u00e9"), "--b",
				"Content-Type: application/pdf", "Content-Transfer-Encoding: base64", "", "AAAA", "--b", "Content-Type: message/rfc822", "", "A: b", "", "x", "--b", "", "x", "--b--"),
		},
		{
			"text that would become delimiters",
			lines("Content-Type: multipart/mixed; boundary=\"b=FF\"", "", "--b=FF", "Content-Type: text/x", "", strings.Repeat("x", 75)+"--b=FF", "--b\xff", strings.Repeat("-", 80), "--b=FF--"),
			lines("Content-Type: multipart/mixed; boundary=\"b=FF\"", "", "--b=FF", "Content-Type: text/x", "Content-Transfer-Encoding: quoted-printable", "",
				strings.Repeat("x", 75)+"=", "=2D-b=3DFF", "=2D-b=FF", "=2D=", "=2D=", "=2D"+strings.Repeat("-", 72)+"=", "=2D----", "--b=FF--"),
		},
		{
			"filler that would become a delimiter",
			lines("Content-Type: multipart/mixed; boundary=\"b?\"", "", "--b\xff", "--b?", "", "x", "--b?--", "--b\xff"),
			lines("Content-Type: multipart/mixed; boundary=\"b?\"", "", "?-b?", "--b?", "", "x", "--b?--", "?-b?"),
		},
		{
			"delimiters without CRLF",
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png\r\n\r\n\xff\r\n--b\nfoo: bar\r\n\r\n--b\r\r\nx\r\n--b--",
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
				wrap("\xff\r\n--b\nfoo: bar\r\n\r\n--b\r\r\nx") + "\r\n--b--",
		},
		{
			"multipart that does not begin",
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: multipart/mixed; boundary=c", "", "e", "--b", "", "\u00e9", "--b--"),
			lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: multipart/mixed; boundary=c", "", "e", "--b",
				"Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "", "=C3=A9", "--b--"),
		},
		{
			"attached multipart that does not begin",
			lines("Content-Type: multipart/digest; boundary=b", "", "--b", "", "Content-Type: multipart/mixed; boundary=c", "", "\u00e9", "--b", "", "A: b", "", "x", "--b--"),
			lines("Content-Type: multipart/digest; boundary=b", "", "--b", "Content-Type: message/global", "Content-Transfer-Encoding: base64", "",
				wrap("Content-Type: multipart/mixed; boundary=c\r\n\r\n\u00e9"), "--b", "", "A: b", "", "x", "--b--"),
		},
		{
			"8-bit message/delivery-status",
			lines("MIME-Version: 1.0", "Content-Type: message/global-delivery-status", "", "\u00e9"),
			lines("MIME-Version: 1.0", "Content-Type: message/global-delivery-status", "Content-Transfer-Encoding: base64", "", "w6kNCg=="),
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

// What cannot be converted is told before anything is written; and only what has octets of 8 bits matters.
func TestUnfit(t *testing.T) {
	deep := "MIME-Version: 1.0\r\n"
	for i := range 101 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%[1]d\r\n", i)
	}
	for _, c := range []struct {
		name, in string
		err      error
	}{
		{"header", "Subject: \u00e9\r\n\r\nx\r\n", sevenbit.ErrHeader},
		{"header of a part", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Description: \u00e9\r\n\r\nx\r\n--b--\r\n", sevenbit.ErrHeader},
		{"folded header", "Subject: x\r\n \u00e9\r\n\r\nx\r\n", sevenbit.ErrHeader},
		{"bare LF in a header", "Subject: x\nTo: y\r\n\r\n\u00e9\r\n", sevenbit.ErrUnfit},
		{"no boundary", "Content-Type: multipart/mixed\r\n\r\n\u00e9\r\n", sevenbit.ErrUnfit},
		{"odd boundary", "Content-Type: multipart/mixed; boundary==_x\r\n\r\n--=_x\r\n\r\n\u00e9\r\n", sevenbit.ErrUnfit},
		{"long boundary", "Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", 201) + "\r\n\r\n\u00e9\r\n", sevenbit.ErrUnfit},
		{"encoded multipart", "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n--b\r\n\r\n\u00e9\r\n--b--\r\n", sevenbit.ErrUnfit},
		{"false base64", "Content-Transfer-Encoding: base64\r\n\r\n\u00e9\r\n", sevenbit.ErrUnfit},
		{"unknown encoding", "Content-Transfer-Encoding: x-uuencode\r\n\r\n\u00e9\r\n", sevenbit.ErrUnfit},
		{"partial", "Content-Type: message/partial; id=x; number=1\r\n\r\n\u00e9\r\n", sevenbit.ErrUnfit},
		{"depth", deep + "\r\n\u00e9\r\n", sevenbit.ErrUnfit},
		{"parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n", 10001) + "\u00e9\r\n", sevenbit.ErrUnfit},
		{"long type with the only one", "Content-Type: text/plain; x=\"" + strings.Repeat("x", 9000) + "\u00e9\"\r\n\r\nx\r\n", sevenbit.ErrUnfit},
		{"multipart that does not begin", "Content-Type: multipart/mixed; boundary=b\r\n\r\n\u00e9\r\n--b1\r\n", sevenbit.ErrUnfit},
		{"multipart that ends at once", "Content-Type: multipart/mixed; boundary=b\r\n\r\n\u00e9\r\n--b--\r\n", sevenbit.ErrUnfit},
		{"inner multipart that does not begin", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n\u00e9\r\n--b\r\n\r\nx", sevenbit.ErrUnfit},
		{"multipart with bare LF", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\n\n\u00e9\n--b--\n", sevenbit.ErrUnfit},
		{"header, and unfit", "Subject: \u00e9\r\nContent-Transfer-Encoding: base64\r\n\r\n\u00e9\r\n", sevenbit.ErrUnfit},
		{"long type", "Content-Type: text/plain;" + strings.Repeat(" x=y;\r\n", 2000) + " z=z\r\n\r\n\u00e9\r\n", sevenbit.ErrUnfit},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := sevenbit.Scan(strings.NewReader(c.in))
			if err != nil || !plan.Eight() || !errors.Is(plan.Err(), c.err) {
				t.Errorf("%v, 8-bit %v: %v, want %v", err, plan.Eight(), plan.Err(), c.err)
			}
			plan, err = sevenbit.Scan(strings.NewReader(strings.ReplaceAll(c.in, "\u00e9", "e")))
			if err != nil || plan.Eight() {
				t.Errorf("without: %v, 8-bit %v", err, plan.Eight())
			}
		})
	}
}

// For a next hop that takes 8-bit headers all else is converted.
func TestHeaderStays(t *testing.T) {
	const in = "Subject: \u00e9\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png; name=\"\u00e9\"\r\n\r\n\x00\xff\n\r\n" +
		"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: \u00e9\r\n\r\nx\r\n--b--\r\n"
	want := "Subject: \u00e9\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png; name=\"\u00e9\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAP8K\r\n" +
		"--b\r\nContent-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\n" + wrap("Subject: \u00e9\r\n\r\nx") + "\r\n--b--\r\n"
	plan, err := sevenbit.Scan(strings.NewReader(in))
	if err != nil || plan.Err() != sevenbit.ErrHeader {
		t.Fatal(err, plan.Err())
	}
	got, err := io.ReadAll(plan.Reader(strings.NewReader(in)))
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %q\nwant %q", err, got, want)
	}
}

// The errors of the content's reader are handed on, and a content that changes on the way is not passed on as 7-bit.
func TestReadErrors(t *testing.T) {
	const content = "Subject: x\r\n\r\n\u00e9\r\n"
	broken := func(s string) io.Reader {
		return io.MultiReader(strings.NewReader(s), iotest.ErrReader(io.ErrClosedPipe))
	}
	for _, s := range []string{"", "Subject: ", content, "Content-Type: message/partial\r\n\r\n", "Subject: x\nbare\r\n"} {
		if _, err := sevenbit.Scan(broken(s)); err != io.ErrClosedPipe {
			t.Errorf("%q: %v", s, err)
		}
	}
	plan, err := sevenbit.Scan(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(plan.Reader(broken(content))); err != io.ErrClosedPipe {
		t.Error(err)
	}
	for _, other := range []string{"Subject: \u00e9\r\n\r\n", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\u00e9"} {
		if out, err := io.ReadAll(plan.Reader(strings.NewReader(other))); err == nil || !sevenbit.ASCII(out) {
			t.Errorf("%q became %q, %v", other, out, err)
		}
	}
}

// tree writes a random entity and returns the bodies of its leaves as they were before any encoding.
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
		fmt.Fprintf(&g.out, "Content-Type: multipart/mixed;\r\n boundary=%s\r\n%s\r\n", g.choose(b, `"`+b+`"`), g.choose("", "Content-Transfer-Encoding: 8bit\r\n", "Content-Transfer-Encoding: binary\r\n"))
		g.out.WriteString(g.choose("", "preamble\r\n", "pr\u00e9ambule\r\n"))
		for range 1 + g.IntN(3) {
			g.out.WriteString("--" + b + g.choose("", " \t") + "\r\n")
			g.entity(depth-1, false)
			g.out.WriteString("\r\n")
		}
		g.out.WriteString("--" + b + "--" + g.choose("", "\r\n", "\r\n\u00e9pilogue"))
	case depth > 0 && n == 3:
		g.out.WriteString("Content-Type: message/rfc822\r\n" + g.choose("", "Content-Transfer-Encoding: 8bit\r\n") + "\r\n")
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
	g.out.WriteString(g.choose("Content-Type: text/plain; charset=x\r\n", "Content-Type: image/png\r\n", "content-type: Text/HTML\r\n", ""))
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
		g.out.WriteString(g.choose("Content-Transfer-Encoding: 8bit\r\n", "Content-Transfer-Encoding: BINARY\r\n", "Content-Transfer-Encoding: 7bit\r\n", "") + "\r\n" + b)
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

// Any message is 7-bit afterwards, with legal lines, and decodes to the octets it had.
func TestRandomTrees(t *testing.T) {
	for seed := range uint64(3000) {
		g := &tree{Rand: rand.New(rand.NewPCG(seed, 1))}
		g.entity(4, true)
		out, err := convert(t, g.out.String())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for line := range strings.SplitSeq(out, "\r\n") {
			if len(line) > 998 || !sevenbit.ASCII([]byte(line)) || strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("seed %d: line %q", seed, line)
			}
		}
		m, err := mail.ReadMessage(strings.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		got := leavesOf(t, textproto.MIMEHeader(m.Header), m.Body)
		if len(got) != len(g.leaves) {
			t.Fatalf("seed %d: %d leaves, want %d\n%q\n%q", seed, len(got), len(g.leaves), g.out.String(), out)
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

// structure lists the entities of a message as one who has all of it at hand reads them: how deep they lie, their types, and the decoded bodies of leaves.
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
		switch field := ok && before != "" && strings.IndexFunc(before, func(r rune) bool { return r <= ' ' || r > '~' }) < 0; {
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
		if _, params, err := mime.ParseMediaType(v); err == nil && strings.HasPrefix(mediaType, "multipart/") {
			boundary = params["boundary"]
		}
	}
	enc, _, _ = strings.Cut(values["content-transfer-encoding"], "(")
	return mediaType, boundary, strings.ToLower(strings.Trim(enc, "; \t")), body
}

// decode returns a body that is not well encoded as it is.
func decode(enc, body string) string {
	var b []byte
	err := io.ErrUnexpectedEOF
	switch enc {
	case "base64":
		b, err = io.ReadAll(base64.NewDecoder(base64.StdEncoding, strings.NewReader(body)))
	case "quoted-printable":
		b, err = io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
	}
	if err != nil {
		return body
	}
	return string(b)
}

// split parts the body of a multipart.
func split(body, boundary string) (parts []string) {
	from, at := -1, 0
	for line := range strings.SplitAfterSeq(body, "\r\n") {
		rest, ok := strings.CutPrefix(strings.TrimRight(strings.TrimSuffix(line, "\r\n"), " \t"), "--"+boundary)
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

// A message has the same structure afterwards, also if its text is made of what delimiters are made of.
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
	boundaries := []string{"b", "=_x", "-", "--", "b--", "=FF", "b=20", "=3D", "?", "b?", "x=", "2D", "=2D-", strings.Repeat("x", 73) + "="}
	switch n := g.IntN(6); {
	case depth > 0 && (n < 3 || open == nil):
		b := g.choose(boundaries...)
		open = append(open[:len(open):len(open)], b)
		fmt.Fprintf(&g.out, "Content-Type: multipart/%s; boundary=\"%s\"\r\n%s\r\n", g.choose("mixed", "mixed", "digest"), b, g.choose("", "Content-Transfer-Encoding: 8bit\r\n"))
		g.pieces(open, g.IntN(3))
		for range 1 + g.IntN(3) {
			g.out.WriteString("\r\n--" + b + "\r\n")
			g.knot(depth-1, open)
		}
		g.out.WriteString(g.choose("", "\r\n--"+b+"--\r\n"))
		g.pieces(open, g.IntN(3))
	case depth > 0 && n == 3:
		g.out.WriteString("Content-Type: message/rfc822\r\n\r\n" + g.choose("", "", "X: \u00e9\r\n"))
		g.knot(depth-1, open)
	default:
		g.out.WriteString(g.choose("Content-Type: text/plain\r\n", "Content-Type: image/png\r\n", "") + "\r\n")
		g.pieces(open, g.IntN(9))
	}
}

func (g *tree) pieces(open []string, n int) {
	for range n {
		g.out.WriteString(g.choose("\xff", "\xff", "--", "-", "--", "\r\n", "\r\n", "\n", " ", "=", "FF", "?", "x", strings.Repeat("x", 74), strings.Repeat("x", 75), strings.Repeat("-", 76), g.choose(append(open, "b")...)))
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
	f.Add("Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nContent-Type: multipart/mixed\r\n\r\n\xff\r\n--b\r\n\r\n\r\n\xff\r\n--b--\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		out, err := convert(t, in)
		if err != nil {
			return
		}
		if !sevenbit.ASCII([]byte(out)) {
			t.Fatalf("%q became %q", in, out)
		}
		if len(out) > 4*len(in)+200*(1+strings.Count(in, "\n")) {
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
			if n, err := io.Copy(io.Discard, plan.Reader(content(n))); err != nil || n == 0 {
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
	binary := "Subject: x\r\nContent-Type: image/png\r\n\r\n" + strings.Repeat("\xff\xfe\x01\x02"+strings.Repeat("\x80", 60)+"\r\n", 1<<20/66)
	for _, c := range []struct{ name, content string }{{"text", text}, {"binary", binary}} {
		b.Run(c.name, func(b *testing.B) {
			plan, err := sevenbit.Scan(strings.NewReader(c.content))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(c.content)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.Copy(io.Discard, plan.Reader(strings.NewReader(c.content))); err != nil {
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
