package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"maps"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"slices"
	"strings"
)

const (
	foldAt     = 76 // RFC 2047 section 2
	base64Line = 76 // RFC 2045 section 6.8
)

// composition is a message whose fields have been checked.
type composition struct {
	*message
	from            mailbox
	to, cc, replyTo []mailbox
	parts           []part
}

// bytes writes the message. Date and Message-ID are the relay's to add.
func (c *composition) bytes() []byte {
	b := bytes.NewBuffer(make([]byte, 0, c.size()))
	addresses(b, "From", []mailbox{c.from})
	if len(c.to)+len(c.cc) == 0 {
		field(b, "To", "undisclosed-recipients:;")
	}
	addresses(b, "To", c.to)
	addresses(b, "Cc", c.cc)
	addresses(b, "Reply-To", c.replyTo)
	if c.Subject != "" {
		field(b, "Subject", words(c.Subject))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		field(b, name, fieldText(name, c.Headers[name]))
	}
	field(b, "MIME-Version", "1.0")
	c.body(b)
	return b.Bytes()
}

// size is how many bytes the message has at most: a buffer that must grow takes
// up three times as much meanwhile.
func (c *composition) size() int {
	size := 4096 + textSize(c.Text) + textSize(c.HTML) + wordSize(c.Subject)
	for _, p := range c.parts {
		size += base64.StdEncoding.EncodedLen(len(p.content)) * (base64Line + 2) / base64Line
		size += 512 + len(p.contentType) + len(p.disposition)
	}
	for name, value := range c.Headers {
		size += len(name) + 4 + wordSize(value)
	}
	for _, list := range [][]mailbox{{c.from}, c.to, c.cc, c.replyTo} {
		for _, a := range list {
			size += len(a.name) + len(a.address) + len(", <>\r\n")
		}
	}
	return size
}

// textSize is how many bytes writeText writes at most (RFC 2045 section 6.7).
func textSize(s string) int {
	n := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\r' || c == '\n':
			n += 2
		case (c == ' ' || c == '\t') && i+1 < len(s) && s[i+1] != '\r' && s[i+1] != '\n':
			n++
		case c > ' ' && c <= '~' && c != '=':
			n++
		default:
			n += 3
		}
	}
	return n + (n/70+1)*len("=\r\n")
}

// wordSize is how many bytes the words of s have at most in the header. Two
// lines hold more than 76 of them.
func wordSize(s string) int {
	n := len(words(s))
	return n + 2*n/foldAt*len("\r\n") + 32
}

// body writes what remains of the header, and the body.
func (c *composition) body(b *bytes.Buffer) {
	if len(c.parts) == 0 {
		kind, write := c.text()
		for _, name := range slices.Sorted(maps.Keys(kind)) {
			field(b, name, kind.Get(name))
		}
		b.WriteString("\r\n")
		write(b)
		if !bytes.HasSuffix(b.Bytes(), []byte("\n")) {
			b.WriteString("\r\n")
		}
		return
	}
	m := multipart.NewWriter(b)
	_ = m.SetBoundary(c.boundary("mixed"))
	field(b, "Content-Type", "multipart/mixed; boundary="+m.Boundary())
	b.WriteString("\r\n")
	// A bytes.Buffer takes everything, so the errors of these writers are nil.
	if c.Text != "" || c.HTML != "" {
		kind, write := c.text()
		w, _ := m.CreatePart(kind)
		write(w)
	}
	for _, p := range c.parts {
		w, _ := m.CreatePart(textproto.MIMEHeader{
			"Content-Type":              {p.contentType},
			"Content-Disposition":       {p.disposition},
			"Content-Transfer-Encoding": {"base64"},
		})
		writeBase64(w, p.content)
	}
	_ = m.Close()
}

// text returns the header of the text, and what writes it.
func (c *composition) text() (textproto.MIMEHeader, func(io.Writer)) {
	switch {
	case c.HTML == "":
		return textHeader("plain"), func(w io.Writer) { writeText(w, c.Text) }
	case c.Text == "":
		return textHeader("html"), func(w io.Writer) { writeText(w, c.HTML) }
	}
	boundary := c.boundary("alternative")
	return textproto.MIMEHeader{
			"Content-Type": {"multipart/alternative; boundary=" + boundary},
		}, func(w io.Writer) {
			m := multipart.NewWriter(w)
			_ = m.SetBoundary(boundary)
			// RFC 2046 section 5.1.4: the plainest first.
			plain, _ := m.CreatePart(textHeader("plain"))
			writeText(plain, c.Text)
			html, _ := m.CreatePart(textHeader("html"))
			writeText(html, c.HTML)
			_ = m.Close()
		}
}

// boundary is a boundary that no part of the message holds.
func (c *composition) boundary(of string) string {
	sum := sha256.Sum256(append(c.seed[:], of...))
	return hex.EncodeToString(sum[:16])
}

func textHeader(kind string) textproto.MIMEHeader {
	return textproto.MIMEHeader{
		"Content-Type":              {"text/" + kind + "; charset=utf-8"},
		"Content-Transfer-Encoding": {"quoted-printable"},
	}
}

func writeText(w io.Writer, s string) {
	q := quotedprintable.NewWriter(w)
	_, _ = io.WriteString(q, s)
	_ = q.Close()
}

func writeBase64(w io.Writer, content []byte) {
	const octets = base64Line / 4 * 3
	var line [base64Line + 2]byte
	for len(content) > 0 {
		n := min(len(content), octets)
		end := base64.StdEncoding.EncodedLen(n)
		base64.StdEncoding.Encode(line[:], content[:n])
		line[end], line[end+1] = '\r', '\n'
		_, _ = w.Write(line[:end+2])
		content = content[n:]
	}
}

func addresses(b *bytes.Buffer, name string, list []mailbox) {
	if len(list) == 0 {
		return
	}
	text := make([]string, len(list))
	for i, a := range list {
		text[i] = a.address
		if a.name != "" {
			text[i] = a.name + " <" + a.address + ">"
		}
	}
	field(b, name, strings.Join(text, ", "))
}

// field writes a header field and folds it before words that do not fit the
// line.
func field(b *bytes.Buffer, name, value string) {
	b.WriteString(name)
	b.WriteByte(':')
	line, spaces := len(name)+1, 1
	for word := range strings.SplitSeq(strings.Trim(value, " "), " ") {
		if word == "" {
			spaces++
			continue
		}
		if line+spaces+len(word) > foldAt && (line > len(name)+1 || strings.HasPrefix(word, "=?")) {
			b.WriteString("\r\n")
			line = 0
		}
		for range spaces {
			b.WriteByte(' ')
		}
		b.WriteString(word)
		line += spaces + len(word)
		spaces = 1
	}
	b.WriteString("\r\n")
}
