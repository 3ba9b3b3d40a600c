package sevenbit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
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

	"github.com/postern-mail/postern/relay/internal/sevenbit"
)

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
