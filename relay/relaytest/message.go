package relaytest

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
	"strings"
	"testing"
)

// Message is a message that an [Inbox] has taken.
type Message struct {
	// From is the reverse-path, empty for a report, and To the recipients that
	// it was delivered to together.
	From string
	To   []string
	// QueueID and Labels are those of the relay's events.
	QueueID string
	Labels  map[string]string
	// Content is header and body as they go out.
	Content []byte
}

// Header returns the field's value with its encoded words (RFC 2047) decoded.
// It is empty when there is no such field.
func (m *Message) Header(name string) string {
	parsed, err := mail.ReadMessage(bytes.NewReader(m.Content))
	if err != nil {
		return ""
	}
	value := parsed.Header.Get(name)
	if decoded, err := new(mime.WordDecoder).DecodeHeader(value); err == nil {
		return decoded
	}
	return value
}

// Subject returns the decoded subject.
func (m *Message) Subject() string { return m.Header("Subject") }

// Text returns the decoded text of the first text/plain part, or, where there
// is none, of the first text/html part.
func (m *Message) Text() string {
	if text, ok := m.part("text/plain"); ok {
		return text
	}
	return m.HTML()
}

// HTML returns the decoded text of the first text/html part, or "".
func (m *Message) HTML() string {
	text, _ := m.part("text/html")
	return text
}

// Link returns the first link in the message that begins with prefix, such as
// "https://shop.example.com/confirm". Without one the test fails.
func (m *Message) Link(t testing.TB, prefix string) string {
	t.Helper()
	for _, text := range []string{m.Text(), m.HTML()} {
		_, rest, ok := strings.Cut(text, prefix)
		if !ok {
			continue
		}
		end := strings.IndexAny(rest, " \t\r\n\"'<>)]")
		if end < 0 {
			end = len(rest)
		}
		return strings.ReplaceAll(prefix+rest[:end], "&amp;", "&")
	}
	t.Fatalf("no link begins with %q in:\n%s", prefix, m.Text())
	return ""
}

// Code returns the first text in the message that matches a regular
// expression, or its first group if it has one. An empty pattern stands for six
// digits by themselves. Without a match the test fails.
func (m *Message) Code(t testing.TB, pattern string) string {
	t.Helper()
	if pattern == "" {
		pattern = `\b\d{6}\b`
	}
	found := regexp.MustCompile(pattern).FindStringSubmatch(m.Text())
	switch len(found) {
	case 0:
		t.Fatalf("nothing matches %q in:\n%s", pattern, m.Text())
		return ""
	case 1:
		return found[0]
	}
	return found[1]
}

// part returns the first part of a media type.
func (m *Message) part(want string) (string, bool) {
	parsed, err := mail.ReadMessage(bytes.NewReader(m.Content))
	if err != nil {
		return "", false
	}
	h := parsed.Header
	return find(want, h.Get("Content-Type"), h.Get("Content-Transfer-Encoding"), parsed.Body)
}

// find looks for a part of a media type, depth first.
func find(want, contentType, encoding string, body io.Reader) (string, bool) {
	if contentType == "" {
		contentType = "text/plain"
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", false
	}
	if strings.HasPrefix(kind, "multipart/") {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			p, err := parts.NextRawPart()
			if err != nil {
				return "", false
			}
			h := p.Header
			text, ok := find(want, h.Get("Content-Type"), h.Get("Content-Transfer-Encoding"), p)
			if ok {
				return text, true
			}
		}
	}
	if kind != want {
		return "", false
	}
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	text, err := io.ReadAll(body)
	return strings.ReplaceAll(string(text), "\r\n", "\n"), err == nil
}
