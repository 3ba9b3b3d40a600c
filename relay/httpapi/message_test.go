package httpapi_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/http"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/httpapi"
)

// compose makes a message of JSON, which must be good.
func compose(t testing.TB, body string) (*mail.Message, string) {
	t.Helper()
	_, content, _, _, faults := httpapi.Compose([]byte(body))
	if faults > 0 {
		t.Fatalf("%s: refused", body)
	}
	m, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		t.Fatalf("%v in\n%s", err, content)
	}
	return m, string(content)
}

// decoded undoes the transfer encoding, as far as multipart has not.
func decoded(t *testing.T, h textproto.MIMEHeader, r io.Reader) string {
	t.Helper()
	switch h.Get("Content-Transfer-Encoding") {
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parts(t *testing.T, h textproto.MIMEHeader, r io.Reader, kind string) []*multipart.Part {
	t.Helper()
	got, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || got != kind {
		t.Fatalf("%s, want %s: %v", got, kind, err)
	}
	var out []*multipart.Part
	m := multipart.NewReader(r, params["boundary"])
	for {
		p, err := m.NextRawPart()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(p)
		whole, err := multipart.NewReader(
			strings.NewReader("--x\r\n"+header(p.Header)+"\r\n"+string(b)+"\r\n--x--"), "x",
		).NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, whole)
	}
}

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

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ field, kind string }{
		{"text", "text/plain"}, {"html", "text/html"},
	} {
		const body = "Grüße\nFrom here\n.\nto there = 1\n"
		in, _ := json.Marshal(map[string]any{"from": "a@example.com", c.field: body})
		m, content := compose(t, string(in))
		if kind, params, _ := mime.ParseMediaType(m.Header.Get("Content-Type")); kind != c.kind ||
			params["charset"] != "utf-8" {
			t.Errorf("%s: %s %v", c.field, kind, params)
		}
		if got := decoded(
			t, textproto.MIMEHeader(m.Header), m.Body,
		); strings.ReplaceAll(got, "\r\n", "\n") != body {
			t.Errorf("%s: %q in\n%s", c.field, got, content)
		}
		if to := m.Header.Get("To"); to != "undisclosed-recipients:;" {
			t.Errorf("To: %s", to)
		}
	}
}

func TestAlternativeAndAttachments(t *testing.T) {
	t.Parallel()
	file := bytes.Repeat([]byte{0, 1, 2, 255, '\n'}, 1000)
	in, _ := json.Marshal(map[string]any{
		"from": "a@example.com", "text": "plain", "html": "<p>rich",
		"attachments": []map[string]string{
			{
				"name": "Rechnung März.pdf", "content_type": "application/pdf",
				"content": base64.StdEncoding.EncodeToString(file),
			},
			{"content": ""},
			{"name": `quo"te\.txt`, "content_type": "text/plain; charset=utf-8", "content": "SGk="},
		},
	})
	m, content := compose(t, string(in))
	all := parts(t, textproto.MIMEHeader(m.Header), m.Body, "multipart/mixed")
	if len(all) != 4 {
		t.Fatalf("%d parts in\n%s", len(all), content)
	}
	texts := parts(t, all[0].Header, all[0], "multipart/alternative")
	if len(texts) != 2 || decoded(t, texts[0].Header, texts[0]) != "plain" ||
		decoded(t, texts[1].Header, texts[1]) != "<p>rich" {
		t.Errorf("texts %v in\n%s", texts, content)
	}
	if got := decoded(t, all[1].Header, all[1]); got != string(file) {
		t.Error("the file has changed")
	}
	for i, want := range []struct{ name, kind string }{
		{"Rechnung März.pdf", "application/pdf"}, {"", "application/octet-stream"},
		{`quo"te\.txt`, "text/plain; charset=utf-8"},
	} {
		_, params, err := mime.ParseMediaType(all[i+1].Header.Get("Content-Disposition"))
		if err != nil || params["filename"] != want.name ||
			all[i+1].Header.Get("Content-Type") != want.kind {
			t.Errorf("attachment %d: %v, %v", i, all[i+1].Header, err)
		}
	}
}

// TestFaults has a row for each way in which a JSON body can be wrong, with the
// pointer to it.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	good := func(more string) string {
		return `{"from":"app@example.com","to":["bob@example.net"],` + more + `}`
	}
	long := strings.Repeat("a", 901)
	for _, c := range []struct{ name, body, pointer string }{
		{"empty", ``, "#"},
		{"no object", `[]`, "#"},
		{"not UTF-8", "{\"from\":\"\xff\"}", "#"},
		{"two values", simple + `{}`, "#"},
		{"deep", good(`"labels":{"a":[[[[]]]]}`), "#"},
		{"deeper than a stack", strings.Repeat("[", 1<<20), "#"},
		{"many values", good(`"headers":{` + strings.Repeat(`"":"",`, 1300) + `"":""}`), "#"},
		{"unknown field", good(`"x/y":1`), "#/x~1y"},
		{"unknown field of an attachment", good(`"attachments":[{"cid":"1"}]`), "#/cid"},
		{"twice", good(`"subject":"a","subject":"b"`), "#/subject"},
		{"twice, once escaped", good(`"subject":"a","sub\u006aect":"b"`), "#/subject"},
		{"in other letters", good(`"Bcc":["x@example.net"]`), "#/Bcc"},
		{"in letters that fold", good(`"\u017fubject":"a"`), "#/ſubject"},
		{
			"twice in an attachment",
			good(`"attachments":[{"name":"a"},{"name":"b","content":"","name":"c"}]`),
			"#/attachments",
		},
		{
			"in other letters in an attachment", good(`"attachments":[{"Name":"a"}]`),
			"#/attachments",
		},
		{"header twice", good(`"headers":{"X-A":"\\\"","X-A":"b"}`), "#/headers"},
		{"label twice", good(`"labels":{"a\"":"1","a\u0022":"2"}`), "#/labels"},
		{"type", good(`"subject":1`), "#/subject"},
		{"no sender", `{"to":["bob@example.net"]}`, "#/from"},
		{"two senders", `{"from":"a@example.com, b@example.com"}`, "#/from"},
		{
			"newline in an address",
			good(`"cc":["a@example.net","b@example.net\r\nBcc: c@example.net"]`), "#/cc/1",
		},
		{"newline in a name", good(`"cc":["\"A\r\nX: y\" <a@example.net>"]`), "#/cc/0"},
		{
			"encoded newline in a name", good(`"cc":["=?utf-8?q?A=0D=0AX:?= <a@example.net>"]`),
			"#/cc/0",
		},
		{"long name", good(`"cc":["` + long + ` <a@example.net>"]`), "#/cc/0"},
		{"group", good(`"cc":["list: a@example.net, b@example.net;"]`), "#/cc/0"},
		{"no domain", good(`"bcc":["root"]`), "#/bcc/0"},
		{"null", good(`"bcc":[null]`), "#/bcc/0"},
		{
			"non-ASCII address in the header only", good(`"reply_to":["ü@example.net"]`),
			"#/reply_to/0",
		},
		{
			"too many addresses",
			good(`"reply_to":["a@example.net"` + strings.Repeat(`,"a@example.net"`, 25) + `]`),
			"#/reply_to",
		},
		{"newline in the subject", good(`"subject":"a\nBcc: x@example.net"`), "#/subject"},
		{"long word in the subject", good(`"subject":"` + long + `"`), "#/subject"},
		{"field name", good(`"headers":{"X: a\r\nBcc":"x"}`), "#/headers/X: a??Bcc"},
		{"empty field name", good(`"headers":{"":"x"}`), "#/headers/"},
		{"newline in a field", good(`"headers":{"X-A":"b\r\nBcc: x"}`), "#/headers/X-A"},
		{"empty field", good(`"headers":{"X-A":" "}`), "#/headers/X-A"},
		{"long word in a field", good(`"headers":{"X-A":"` + long + `"}`), "#/headers/X-A"},
		{"field twice", good(`"headers":{"X-A":"1","x-a":"2"}`), "#/headers/x-a"},
		{"reserved", good(`"headers":{"bcc":"x@example.net"}`), "#/headers/bcc"},
		{
			"reserved prefix", good(`"headers":{"Content-Type":"text/html"}`),
			"#/headers/Content-Type",
		},
		{
			"media type", good(`"attachments":[{},{"content_type":"x"}]`),
			"#/attachments/1/content_type",
		},
		{
			"multipart", good(`"attachments":[{"content_type":"multipart/mixed; boundary=a"}]`),
			"#/attachments/0/content_type",
		},
		{
			"message", good(`"attachments":[{"content_type":"Message/RFC822"}]`),
			"#/attachments/0/content_type",
		},
		{"file name", good(`"attachments":[{"name":"a\r\nb"}]`), "#/attachments/0/name"},
		{"base64", good(`"attachments":[{"content":"a"}]`), "#/attachments/0/content"},
		{"sloppy base64", good(`"attachments":[{"content":"SGl="}]`), "#/attachments/0/content"},
		{"envelope sender", good(`"envelope_from":"x"`), "#/envelope_from"},
		{"envelope id", good(`"envelope_id":"ü"`), "#/envelope_id"},
		{"return", good(`"return":"ALL"`), "#/return"},
		{"notify", good(`"notify":["NEVER","DELAY"]`), "#/notify"},
		{"label", good(`"labels":{"a":"\u0000"}`), "#/labels"},
	} {
		a := w.do(post(c.body))
		if a.Status != 400 || len(a.Errors) == 0 || a.Errors[0].Pointer != c.pointer ||
			a.SMTP.Code != 501 {
			t.Errorf("%s: %d %s, want %s", c.name, a.Status, a.Body, c.pointer)
		}
	}
	if a := w.do(
		post(
			good(
				`"bcc":[],"attachments":[{"name":"a"},{"name":"a"}],"headers":{"X-A":"{\"x\":1,"},"labels":{"X-A":"","x-a":""}`,
			),
		),
	); a.Status != 202 {
		t.Errorf("what is not given twice: %s", a.Body)
	}
	if n := httpapi.Buffered(w.handler); n != 0 {
		t.Errorf("%d octets still count as held", n)
	}
	many := good(`"cc":["x"` + strings.Repeat(`,"x"`, 99) + `]`)
	if a := w.do(post(many)); len(a.Errors) != 20 {
		t.Errorf("%d faults are told, want 20", len(a.Errors))
	}
}

// FuzzJSON: whatever the body, what goes to the relay is a message with the
// fields it should have and no others.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(simple))
	f.Add(
		[]byte(
			`{"from":"Jürgen <a@example.com>","to":["\"q\\\" s\"@example.net"],"cc":["=?utf-8?q?A?= <b@bücher.example>"],"subject":"ä ö ü  x","text":"a\r\nb\rc\n","html":"<p>","headers":{"X-A":"  b  c ü","References":"<a@b>"},"reply_to":["r@example.com"]}`,
		),
	)
	f.Add(
		[]byte(
			`{"from":"a@example.com","text":"--x","attachments":[{"name":"ü\"\\.txt","content_type":"text/plain; charset*=utf-8''%0d%0a; name=x","content":"SGk="},{}],"labels":{"a":"b"},"notify":["NEVER"],"return":"HDRS","envelope_id":"x","envelope_from":"b@example.com"}`,
		),
	)
	known := map[string]bool{
		"From": true, "To": true, "Cc": true, "Reply-To": true, "Subject": true,
		"Mime-Version": true,
		"Content-Type": true, "Content-Transfer-Encoding": true,
	}
	f.Add(
		[]byte(
			`{"from":"a@example.com","labels":{"a\"":"1","\\":"2"},"attachments":[{"name":"a"},{"name":"b","name":"c"}],"Text":"x"}`,
		),
	)
	f.Add([]byte(`null`))
	f.Add(
		[]byte(
			`{"from":"\"=?utf-8?q?hi?=\" <a@example.com>","subject":"=?x","headers":{"Message-ID":"<a@b>","References":"<a> <b@c>","Date":"24 Nov 2026 10:00 +0000","Errors-To":"a@b","X-A":"=?utf-8?q?hi?= b"},"attachments":[{"name":"=?"}]}`,
		),
	)
	f.Fuzz(func(t *testing.T, body []byte) {
		_, content, count, headers, faults := httpapi.Compose(body)
		if faults > 0 {
			return
		}
		for line := range bytes.Lines(content) {
			if line = bytes.TrimSuffix(line, []byte("\r\n")); len(line) > 998 ||
				bytes.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("line %q", line)
			}
		}
		m, err := mail.ReadMessage(bytes.NewReader(content))
		if err != nil {
			t.Fatalf("%v in\n%s", err, content)
		}
		own := make(map[string]bool)
		for name := range headers {
			own[textproto.CanonicalMIMEHeaderKey(name)] = true
		}
		for name, values := range m.Header {
			if !known[name] && !own[name] || len(values) != 1 {
				t.Fatalf("field %s: %q in\n%s", name, values, content)
			}
		}
		if from, err := m.Header.AddressList("From"); err != nil || len(from) != 1 {
			t.Fatalf("From: %v in\n%s", err, content)
		}
		if count == 0 {
			return
		}
		_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		r := multipart.NewReader(m.Body, params["boundary"])
		for range count {
			p, err := r.NextRawPart()
			if err != nil {
				t.Fatalf("%v in\n%s", err, content)
			}
			for name, values := range p.Header {
				if !known[name] && name != "Content-Disposition" || len(values) != 1 {
					t.Fatalf("field %s of a part: %q in\n%s", name, values, content)
				}
			}
		}
		if _, err := r.NextRawPart(); err != io.EOF {
			t.Fatalf("more parts: %v in\n%s", err, content)
		}
	})
}

// What some clients write otherwise than the standards have it, and means one
// thing only.
func TestLenient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, r := range []*http.Request{
		post("\ufeff" + simple), post(simple, "Content-Type", "application/json; charset=utf8"),
		post(simple, "Content-Type", `application/json; charset="UTF-8"`),
	} {
		if a := w.do(r); a.Status != 202 {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	if a := w.do(
		post(`{"from":"App, Inc. <app@example.com>","to":["a@example.net"],"text":"x"}`),
	); a.Status != 400 || !strings.Contains(a.Body, "is quoted") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}
