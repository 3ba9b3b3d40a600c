package httpapi_test

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/httpapi"
)

func header(h textproto.MIMEHeader) string {
	var b strings.Builder
	for k, v := range h {
		b.WriteString(k + ": " + v[0] + "\r\n")
	}
	return b.String()
}

func TestHeader(t *testing.T) {
	t.Parallel()
	m, content := compose(t, `{
		"from": "\"Jürgen \\\"Shop\\\"\" <app@example.com>",
		"to": ["bob@example.net", "\"Ann, the CEO\" <ann@example.net>", "\"odd local\"@example.net", "bob@bücher.example"],
		"cc": ["Zoë <z@example.net>"], "bcc": ["hidden@example.net"],
		"reply_to": ["help@example.com"],
		"subject": "Größe: 42 – a subject that is long enough to need folding, and then some more of it",
		"headers": {"X-Campaign": "spring", "References": "<one@example.com> <two@example.com> <three@example.com> <four@example.com> <five@example.com>"}
	}`)
	var d mime.WordDecoder
	subject, err := d.DecodeHeader(m.Header.Get("Subject"))
	if err != nil ||
		subject != "Größe: 42 – a subject that is long enough to need folding, and then some "+
			"more of it" {
		t.Errorf("subject %q, %v", subject, err)
	}
	from, err := m.Header.AddressList("From")
	if err != nil || len(from) != 1 || from[0].Name != `Jürgen "Shop"` ||
		from[0].Address != "app@example.com" {
		t.Errorf("from %v, %v", from, err)
	}
	to, err := m.Header.AddressList("To")
	if err != nil || len(to) != 4 || to[1].Name != "Ann, the CEO" ||
		to[2].Address != "odd local@example.net" || to[3].Address != "bob@xn--bcher-kva.example" {
		t.Errorf("to %v, %v", to, err)
	}
	if m.Header.Get("X-Campaign") != "spring" ||
		!strings.HasSuffix(m.Header.Get("References"), " <five@example.com>") {
		t.Errorf("headers %v", m.Header)
	}
	if strings.Contains(content, "hidden") {
		t.Error("bcc is in the message")
	}
	for line := range strings.Lines(content) {
		if len(line) > 78 || !strings.HasSuffix(line, "\r\n") {
			t.Errorf("line %q", line)
		}
	}
}

// TestLiteralWords: text that looks like an encoded word is read as it was
// written.
func TestLiteralWords(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"=?utf-8?q?hi?=", "a =?utf-8?b?aGk=?= b", "=?", "what=?", "ä =?utf-8?q?hi?=",
		"=?utf-8?q?" + strings.Repeat("=41", 40) + "?= " + strings.Repeat(
			"words to fold ", 6,
		) + "end",
	} {
		in, _ := json.Marshal(map[string]any{
			"from":     `"` + text + `" <a@example.com>`,
			"cc":       []string{"b@example.com", `"` + text + `" <c@example.com>`},
			"reply_to": []string{`"` + text + `" <d@example.com>`},
			"subject":  text, "headers": map[string]string{"X-Text": text, "Comments": text},
			"attachments": []map[string]string{{"name": text, "content": ""}},
		})
		m, content := compose(t, string(in))
		var d mime.WordDecoder
		for _, name := range []string{"Subject", "X-Text", "Comments"} {
			if got, err := d.DecodeHeader(m.Header.Get(name)); err != nil || got != text {
				t.Errorf("%s: %q, %v; want %q", name, got, err, text)
			}
		}
		for name, i := range map[string]int{"From": 0, "Cc": 1, "Reply-To": 0} {
			list, err := m.Header.AddressList(name)
			if err != nil || list[i].Name != text {
				t.Errorf("%s: %v, %v; want %q", name, list, err, text)
			}
			// Many readers also decode inside quotes.
			if strings.Contains(m.Header.Get(name), `"`) {
				t.Errorf("%s: %s", name, m.Header.Get(name))
			}
		}
		part := parts(t, textproto.MIMEHeader(m.Header), m.Body, "multipart/mixed")[0]
		disposition := part.Header.Get("Content-Disposition")
		if _, params, err := mime.ParseMediaType(disposition); err != nil ||
			params["filename"] != text || strings.Contains(disposition, "=?") {
			t.Errorf("%s, %v; want %q", disposition, err, text)
		}
		for line := range strings.Lines(content) {
			if len(line) > 78 && !strings.HasPrefix(line, "Content-Disposition") {
				t.Errorf("line %q", line)
			}
		}
	}
	// As a mailbox is written in a header.
	m, _ := compose(t, `{"from": "=?utf-8?q?J=C3=BCrgen?= <a@example.com>"}`)
	if list, err := m.Header.AddressList("From"); err != nil || list[0].Name != "Jürgen" {
		t.Errorf("%v, %v", list, err)
	}
}

// TestHeaders tells of each field of headers whose value is more than text
// whether it is checked, refused, or harmless.
func TestHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const ok, refused = true, false
	const reserved, notASCII = "set by another field or by the relay", "not ASCII"
	for _, c := range []struct {
		name, value string
		taken       bool
		detail      string // of the refusal
	}{
		{"Date", "Tue, 24 Nov 2026 10:00:00 +0100", ok, ""},
		{"Date", "24 Nov 2026 10:00 +0000", ok, ""},
		{"Date", "garbage", refused, "not a date"},
		{"date", "2026-11-24T10:00:00Z", refused, "not a date"},
		{"Date", "Tue, 24 Nov 2026 10:00:00 +0100 (Mitteleuropäische Zeit)", refused, notASCII},
		{"Message-ID", "<a.b+c=?d?=@example.com>", ok, ""},
		{"Message-ID", "<1@[192.0.2.1]>", ok, ""},
		{"Message-ID", "no angle", refused, "not one message id"},
		{"message-id", "a@example.com", refused, "not one message id"},
		{"Message-ID", "<a@example.com> <b@example.com>", refused, "not one message id"},
		{"Message-ID", "<a@example.com> x", refused, "not one message id"},
		{"Message-ID", "<a@b@c>", refused, "not one message id"},
		{"Message-ID", "<a>", refused, "not one message id"},
		{"Message-ID", "<@a>", refused, "not one message id"},
		{"Message-ID", "<a@>", refused, "not one message id"},
		{"Message-ID", "<a b@c>", refused, "not one message id"},
		{"Message-ID", "<ü@example.com>", refused, notASCII},
		{"In-Reply-To", "<a@example.com>", ok, ""},
		{"In-Reply-To", "your message", refused, "not message ids"},
		{"References", "<a@example.com>  <b>", ok, ""}, // others have worse ids
		{"References", "<a@example.com>,<b@example.com>", refused, "not message ids"},
		{"References", "<>", refused, "not message ids"},
		{"References", "<ü@example.com>", refused, notASCII},
		{
			"List-Unsubscribe", "<https://example.com/?a=?b>, <mailto:u@example.com?subject=?>", ok,
			"",
		},
		{"List-Unsubscribe", "<https://exämple.com/>", refused, notASCII},
		{"List-Unsubscribe-Post", "List-Unsubscribe=One-Click", ok, ""},
		{"List-Id", "=?utf-8?q?f=C3=BCr_alle?= <all.example.com>", ok, ""},
		{"Disposition-Notification-To", "App <app@example.com>", ok, ""},
		{"Disposition-Notification-To", "me", refused, "not addresses"},
		{"Errors-To", "ü@example.com", refused, notASCII},
		{"Auto-Submitted", "auto-generated", ok, ""},
		{"Precedence", "bulk", ok, ""},
		{"X-Priority", "1 (Highest)", ok, ""},

		{"From", "a@example.com", refused, reserved},
		{"sender", "a@example.com", refused, reserved},
		{"Reply-To", "a@example.com", refused, reserved},
		{"To", "a@example.com", refused, reserved},
		{"Cc", "a@example.com", refused, reserved},
		{"BCC", "a@example.com", refused, reserved},
		{"Subject", "hi", refused, reserved},
		{"Return-Path", "<a@example.com>", refused, reserved},
		{"Received", "from x by y; Tue, 24 Nov 2026 10:00:00 +0100", refused, reserved},
		{"Received-SPF", "pass", refused, reserved},
		{"Authentication-Results", "relay.example.com; spf=pass", refused, reserved},
		{"ARC-Seal", "i=1", refused, reserved},
		{"DKIM-Signature", "v=1", refused, reserved},
		{"MIME-Version", "1.0", refused, reserved},
		{"Content-Type", "text/html", refused, reserved},
		{"Content-Transfer-Encoding", "8bit", refused, reserved},
		{"Resent-From", "a@example.com", refused, reserved},
		{"Resent-Bcc", "a@example.com", refused, reserved},
	} {
		body, _ := json.Marshal(
			map[string]any{
				"from": "app@example.com", "to": []string{"bob@example.net"},
				"headers": map[string]string{c.name: c.value},
			},
		)
		a := w.do(post(string(body)))
		if !c.taken {
			if a.Status != 400 || len(a.Errors) != 1 ||
				a.Errors[0].Pointer != "#/headers/"+c.name ||
				!strings.HasPrefix(a.Errors[0].Detail, c.detail) {
				t.Errorf("%s: %s: %d %s", c.name, c.value, a.Status, a.Body)
			}
			continue
		}
		if a.Status != 202 {
			t.Errorf("%s: %s: %d %s", c.name, c.value, a.Status, a.Body)
			continue
		}
		m, err := mail.ReadMessage(strings.NewReader(w.one().content))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Header[textproto.CanonicalMIMEHeaderKey(c.name)]; len(got) != 1 ||
			strings.Join(strings.Fields(got[0]), " ") != strings.Join(
				strings.Fields(c.value), " ",
			) {
			t.Errorf("%s: %q, want %q", c.name, got, c.value)
		}
	}
	// The relay takes out what only its own organization may say.
	a := w.do(post(`{"from":"app@example.com","to":["bob@example.net"],"headers":{
		"X-MS-Exchange-Organization-SCL":"-1","X-MS-Exchange-Forest-X":"1","X-Postern-Organization-X":"1","X-Kept":"1"}}`))
	if content := w.one().content; a.Status != 202 || strings.Contains(content, "X-MS-") ||
		strings.Contains(content, "X-Postern") || !strings.Contains(content, "X-Kept: 1\r\n") {
		t.Errorf("%d %s\n%s", a.Status, a.Body, content)
	}
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	m, _, _, _, _ := httpapi.Compose([]byte(`{
		"from": "App <app@example.com>", "to": ["Bob <bob@example.net>", "bob@example.net"], "cc": ["c@example.net"], "bcc": ["bob@example.net", "h@bücher.example"],
		"envelope_from": "", "envelope_id": "E", "return": "FULL", "notify": ["SUCCESS", "DELAY"], "labels": {"job": "7"}
	}`))
	if m.From != "" ||
		fmt.Sprint(m.To) != "[bob@example.net c@example.net h@xn--bcher-kva.example]" {
		t.Errorf("from %q to %v", m.From, m.To)
	}
	if m.EnvelopeID != "E" || m.Return != "FULL" || m.Notify.String() != "SUCCESS,DELAY" ||
		m.Labels["job"] != "7" || m.Size == 0 {
		t.Errorf("%+v", m)
	}
}
