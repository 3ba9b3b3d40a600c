package httpapi_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
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
				`"bcc":[],"attachments":[{"name":"a"},{"name":"a"}],"headers":{"X-A":"{\"x\":1,` +
					`"},"labels":{"X-A":"","x-a":""}`,
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
