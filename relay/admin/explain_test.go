package admin_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/admin"
)

// TestExplainJSON holds the answer to the file, and so the names of its fields.
func TestExplainJSON(t *testing.T) {
	h := shown(t, config(t))
	const asked = `{"remote":"192.0.2.7","connector":"people",` +
		`"tls":true,"user":"app@example.com",` +
		`"from":"app@example.com","to":"nobody@example.com","size":1000}`
	want, err := os.ReadFile("testdata/explain.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*http.Request{
		postJSON(asked),
		postForm("remote=192.0.2.7:40000&connector=people&local=&tls=true&"+
			"user=app@example.com&from=app@example.com&to=nobody@example.com&size=1000",
			"Accept", "text/plain;q=0.5, application/json"),
	} {
		if w := do(h, r); w.Code != 200 || w.Header().Get("Content-Type") != "application/json" ||
			w.Body.String() != string(want) {
			t.Errorf("%d %s\n%s", w.Code, w.Header().Get("Content-Type"), w.Body)
		}
	}
}

func TestExplainPage(t *testing.T) {
	h := shown(t, config(t))
	for _, test := range []struct {
		form string
		want []string
	}{
		{"remote=10.1.2.3&connector=apps&from=app@example.com&to=somebody@elsewhere.example",
			[]string{
				">accepted<",
				"<code>MAIL FROM:&lt;app@example.com&gt;</code></th><td><code>250 2.1.0</code>",
				"<code>RCPT TO:&lt;somebody@elsewhere.example&gt;</code></th><td><code>250 " +
					"2.1.5</code>", "not an accepted domain", "not looked up",
			}},
		{"remote=10.1.2.3&connector=apps&from=&to=nobody@example.com&size=", []string{
			">refused<", "<code>550 5.1.1 User unknown</code>", "example.com (Authoritative)",
			"<option selected>apps</option>",
		}},
		{
			"remote=10.9.9.9&connector=apps",
			[]string{
				"connect", "the connection is closed without a banner",
				"no remote range of it holds 10.9.9.9", "<td>none</td>",
			},
		},
		{
			"remote=2001:db8::7&connector=people&tls=1&user=app",
			[]string{"235 2.7.0", "is the narrowest on [2001:db8::25]:587", "user:app", " checked"},
		},
		{
			"remote=2001:db8::7&connector=partners",
			[]string{"no remote range of it holds 2001:db8::7"},
		},
		{
			"remote=192.0.2.7&local=192.0.2.25:587&from=%3C%3E&to=Postmaster",
			[]string{
				"MAIL FROM:&lt;&gt;", "Must issue a STARTTLS command first", `value=""`,
				`<option value="" selected>`,
			},
		},
		{
			"remote=%20192.0.2.7%20&connector=people&tls=true&user=app@example.com&" +
				"from=app@example.com&size=99999999999",
			[]string{"SIZE=99999999999", "5.3.4"},
		},
	} {
		w := do(h, postForm(test.form))
		if w.Code != 200 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
			t.Fatalf("%s: %d %s", test.form, w.Code, w.Body)
		}
		checkMarkup(t, w.Body.String())
		for _, want := range test.want {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: no %q in\n%s", test.form, want, w.Body)
			}
		}
	}
}

func TestExplainFaults(t *testing.T) {
	h := shown(t, config(t))
	const good = `"remote":"10.1.2.3","connector":"apps"`
	for _, test := range []struct{ body, fields string }{
		{`{}`, "remote connector"},
		{`{"remote":"relay.example.com","connector":"apps"}`, "remote"},
		{`{"remote":"fe80::1%eth0","connector":"apps"}`, "remote"},
		{`{"remote":"10.1.2.3:99999","connector":"apps"}`, "remote"},
		{`{"remote":"10.1.2.3"}`, "connector"},
		{`{` + good + `,"local":"192.0.2.25:25"}`, "connector"},
		{`{"remote":"10.1.2.3","connector":"nothing"}`, "connector"},
		{`{"remote":"10.1.2.3","connector":"off"}`, "connector"},
		{`{"remote":"10.1.2.3","local":"192.0.2.25"}`, "local"},
		{`{"remote":"10.1.2.3","local":"[fe80::1%eth0]:25"}`, "local"},
		{`{` + good + `,"user":"a\nb"}`, "user"},
		{`{` + good + `,"user":"` + strings.Repeat("x", 256) + `"}`, "user"},
		{`{` + good + `,"from":"a@b@c","to":"nothing"}`, "from to"},
		{`{` + good + `,"from":"postmaster"}`, "from"},
		{`{` + good + `,"from":"a@example.com\r\nRCPT TO:<b@example.com>"}`, "from"},
		{`{` + good + `,"size":-1}`, "size"},
		{`{` + good + `,"size":1.5}`, "size"},
		{`{` + good + `,"size":99999999999999999999}`, "size"},
	} {
		w := do(h, postJSON(test.body))
		var p struct {
			Type, Title string
			Status      int
			Errors      []struct{ Field, Detail string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatalf("%s: %v\n%s", test.body, err, w.Body)
		}
		var fields []string
		for _, e := range p.Errors {
			if e.Detail == "" {
				t.Errorf("%s: %s without a detail", test.body, e.Field)
			}
			fields = append(fields, e.Field)
		}
		if w.Code != 422 || p.Status != 422 || p.Type != "about:blank" ||
			w.Header().Get("Content-Type") != "application/problem+json" ||
			strings.Join(fields, " ") != test.fields {
			t.Errorf("%s: %d %s", test.body, w.Code, w.Body)
		}
	}
	w := do(h, postForm("remote=10.1.2&connector=&local=&from=a@b@c&size=many&user=app&tls=true"))
	checkMarkup(t, w.Body.String())
	for _, want := range []string{
		`value="10.1.2" `, `<strong id="remote-fault" class="bad">write the client`,
		`<strong id="connector-fault" class="bad">choose a connector`,
		`value="a@b@c"`, `<strong id="from-fault" class="bad">invalid address: `, `value="many"`,
		`<strong id="size-fault"`, `value="app"`, " checked", `role="alert"`,
	} {
		if w.Code != 422 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%d, no %q in\n%s", w.Code, want, w.Body)
		}
	}
}

func TestExplainRefused(t *testing.T) {
	h := shown(t, config(t))
	const good = "remote=10.1.2.3&connector=apps"
	for _, test := range []struct {
		name string
		r    *http.Request
		code int
	}{
		{"text", request("POST", "/explain", good, "Content-Type", "text/plain"), 415},
		{
			"multipart",
			request("POST", "/explain", good, "Content-Type", "multipart/form-data; boundary=x"),
			415,
		},
		{"no type", request("POST", "/explain", good), 415},
		{"too large", postForm(good + "&to=" + strings.Repeat("x", 64<<10)), 413},
		{"too large, JSON", postJSON(`{"to":"` + strings.Repeat("x", 64<<10) + `"}`), 413},
		{
			"at the limit", postForm(good + "&to=" + strings.Repeat("x", 64<<10-len(good+"&to="))),
			422,
		},
		{"not a form", postForm("remote=%zz"), 400},
		{"twice", postForm(good + "&to=a@example.com&to=b@example.com"), 400},
		{"unknown field", postForm(good + "&password=x"), 400},
		{"neither true nor false", postForm(good + "&tls=maybe"), 400},
		{"not JSON", postJSON("remote"), 400},
		{"null", postJSON("null"), 422},
		{"an array", postJSON("[]"), 400},
		{"two objects", postJSON(`{"remote":"10.1.2.3","connector":"apps"} {}`), 400},
		{"another type", postJSON(`{"tls":"true"}`), 400},
		{
			"unknown field in JSON",
			postJSON(`{"remote":"10.1.2.3","connector":"apps","groups":[]}`), 400,
		},
		{"another site", postForm(good, "Sec-Fetch-Site", "cross-site"), 403},
		{"a sibling", postForm(good, "Sec-Fetch-Site", "same-site"), 403},
		{"another origin", postForm(good, "Origin", "https://attacker.example"), 403},
		{"an origin that hides", postForm(good, "Origin", "null"), 403},
		{
			"the same origin",
			postForm(good, "Origin", "https://example.com", "Sec-Fetch-Site", "same-origin"), 200,
		},
		{
			"the query does not count",
			request(
				"POST", "/explain?to=%zz", good, "Content-Type",
				"application/x-www-form-urlencoded",
			),
			200,
		},
	} {
		if w := do(h, test.r); w.Code != test.code {
			t.Errorf("%s: %d %s", test.name, w.Code, w.Body)
		}
	}
}

// TestExplainLookupFails keeps the application's own error off the page.
func TestExplainLookupFails(t *testing.T) {
	var log journal
	h := newHandler(
		t, admin.Config{Relay: newRelay(t, config(t)), Authorize: open, Logger: log.logger()},
	)
	for _, r := range []*http.Request{
		postForm("remote=10.1.2.3&connector=apps&to=slow@example.com"),
		postJSON(`{"remote":"10.1.2.3","connector":"apps","to":"slow@example.com"}`),
	} {
		w := do(h, r)
		if w.Code != 200 ||
			!strings.Contains(w.Body.String(), "Recipient lookup failed, try again later") ||
			strings.Contains(w.Body.String(), "detail") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if line := log.take(); !strings.Contains(line, "secret detail") ||
			strings.Count(line, "\n") != 1 {
			t.Errorf("log %q", line)
		}
	}
}

func FuzzExplain(f *testing.F) {
	h := shown(f, config(f))
	for _, body := range []string{
		"remote=10.1.2.3&connector=apps&from=a@example.com&to=b@example.net&tls=true&size=1000",
		"remote=::1&local=[::]:25&user=%C3%BC&to=postmaster",
		"remote=<script>&connector=\"'>&user=%00", "a=%zz",
		`{"remote":"192.0.2.7","connector":"people","tls":true,"user":"app","from":"<>",` +
			`"to":"\"<script>\"@example.com","size":1}`,
		`{"remote":"192.0.2.7","local":"0.0.0.0:0","size":"1"}`, `[`, "",
	} {
		f.Add(body, true)
		f.Add(body, false)
	}
	f.Fuzz(func(t *testing.T, body string, asJSON bool) {
		r := postForm(body)
		if asJSON {
			r = postJSON(body)
		}
		w := do(h, r)
		switch w.Code {
		case 200, 422:
		case 400, 413:
			return
		default:
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if asJSON {
			if !json.Valid(w.Body.Bytes()) || strings.ContainsAny(w.Body.String(), "<>") {
				t.Errorf("answer %s", w.Body)
			}
		} else if page := strings.ToLower(w.Body.String()); strings.Contains(page, "<script") ||
			strings.Count(page, "<form") != 1 || !strings.HasSuffix(page, "</html>\n") {
			t.Errorf("answer %s", w.Body)
		}
	})
}
