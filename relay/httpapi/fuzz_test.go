package httpapi_test

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/httpapi"
)

// FuzzJSON: whatever the body, what goes to the relay is a message with the
// fields it should have and no others.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(simple))
	f.Add(
		[]byte(
			`{"from":"Jürgen <a@example.com>","to":["\"q\\\" ` +
				`s\"@example.net"],"cc":["=?utf-8?q?A?= <b@bücher.example>"],` +
				`"subject":"ä ö ü  ` +
				`x","text":"a\r\nb\rc\n","html":"<p>","headers":{"X-A":"  b  c ` +
				`ü","References":"<a@b>"},"reply_to":["r@example.com"]}`,
		),
	)
	f.Add(
		[]byte(
			`{"from":"a@example.com","text":"--x","attachments":[{"name":"ü\"\\.txt",` +
				`"content_type":"text/plain; charset*=utf-8''%0d%0a; ` +
				`name=x","content":"SGk="},{}],"labels":{"a":"b"},"notify":["NEVER"],` +
				`"return":"HDRS","envelope_id":"x","envelope_from":"b@example.com"}`,
		),
	)
	known := map[string]bool{
		"From": true, "To": true, "Cc": true, "Reply-To": true, "Subject": true,
		"Mime-Version": true,
		"Content-Type": true, "Content-Transfer-Encoding": true,
	}
	f.Add(
		[]byte(
			`{"from":"a@example.com","labels":{"a\"":"1","\\":"2"},"attachments":[{"name":"a"},` +
				`{"name":"b","name":"c"}],"Text":"x"}`,
		),
	)
	f.Add([]byte(`null`))
	f.Add(
		[]byte(
			`{"from":"\"=?utf-8?q?hi?=\" <a@example.com>","subject":"=?x",` +
				`"headers":{"Message-ID":"<a@b>","References":"<a> <b@c>","Date":"24 Nov 2026 ` +
				`10:00 +0000","Errors-To":"a@b","X-A":"=?utf-8?q?hi?= ` +
				`b"},"attachments":[{"name":"=?"}]}`,
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
