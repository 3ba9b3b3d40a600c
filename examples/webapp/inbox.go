package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
)

const (
	keepMessages = 50
	keepEvents   = 30
	keepBytes    = 256 << 10 // of a message; the rest is not shown
)

// inbox is a next hop that keeps the newest messages in memory instead of
// sending them, and the newest events beside them.
type inbox struct {
	mu       sync.Mutex
	messages []*message // newest first
	events   []event.Event
}

// message is one delivery, with what the page shows of it.
type message struct {
	ID       string
	Received time.Time
	Sender   string // of the envelope
	To       []string
	From     string
	Subject  string
	Text     string
	Source   []byte
}

// Deliver implements delivery.Transport.
func (b *inbox) Deliver(ctx context.Context, a *delivery.Attempt) []delivery.Result {
	m, err := capture(ctx, a)
	if err != nil {
		return a.All(delivery.Failed(err))
	}
	for _, r := range a.Recipients {
		m.To = append(m.To, r.Address)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = slices.Insert(b.messages, 0, m)
	b.messages = b.messages[:min(len(b.messages), keepMessages)]
	return a.All(delivery.Taken("inbox", delivery.Reply{
		Code: 250, Enhanced: "2.0.0", Text: "kept",
	}))
}

func (b *inbox) event(e event.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = slices.Insert(b.events, 0, e)
	b.events = b.events[:min(len(b.events), keepEvents)]
}

// newest returns copies of the lists.
func (b *inbox) newest() ([]*message, []event.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.messages), slices.Clone(b.events)
}

func (b *inbox) find(id string) *message {
	messages, _ := b.newest()
	if i := slices.IndexFunc(messages, func(m *message) bool { return m.ID == id }); i >= 0 {
		return messages[i]
	}
	return nil
}

func capture(ctx context.Context, a *delivery.Attempt) (*message, error) {
	r, err := a.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	source, err := io.ReadAll(io.LimitReader(r, keepBytes))
	if err != nil {
		return nil, err
	}
	m := &message{ID: a.QueueID, Received: time.Now(), Sender: a.Message.From, Source: source}
	parsed, err := mail.ReadMessage(bytes.NewReader(source))
	if err != nil {
		m.Text = string(source)
		return m, nil
	}
	var words mime.WordDecoder
	header := func(name string) string {
		if s, err := words.DecodeHeader(parsed.Header.Get(name)); err == nil {
			return s
		}
		return parsed.Header.Get(name)
	}
	m.From, m.Subject = header("From"), header("Subject")
	m.Text = text(
		parsed.Header.Get("Content-Type"), parsed.Header.Get("Content-Transfer-Encoding"),
		parsed.Body, 0,
	)
	return m, nil
}

// text returns the first text part of an entity. HTML is shown as source: what
// a stranger wrote never becomes part of the page.
func text(contentType, encoding string, body io.Reader, depth int) string {
	kind, params, err := mime.ParseMediaType(contentType)
	if err == nil && strings.HasPrefix(kind, "multipart/") && depth < 5 {
		for parts := multipart.NewReader(body, params["boundary"]); ; {
			p, err := parts.NextRawPart()
			if err != nil {
				return ""
			}
			if s := text(
				p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p, depth+1,
			); s != "" {
				return s
			}
		}
	}
	if err == nil && !strings.HasPrefix(kind, "text/") && kind != "message/delivery-status" {
		return ""
	}
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	b, _ := io.ReadAll(body) // what can be read
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
