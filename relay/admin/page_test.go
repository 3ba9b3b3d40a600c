package admin_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
)

// TestStatus holds GET /status to the file, and so the names of its fields.
func TestStatus(t *testing.T) {
	w := do(shown(t, config(t)), request(http.MethodGet, "/status", ""))
	memory := regexp.MustCompile(`("memory": \{\s+"level": "normal",\s+"value": )[1-9]\d*`)
	got := memory.ReplaceAllString(w.Body.String(), "${1}1")
	want, err := os.ReadFile("testdata/status.json")
	if err != nil {
		t.Fatal(err)
	}
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" ||
		got != string(want) {
		t.Errorf("%d %s\n%s", w.Code, w.Header().Get("Content-Type"), got)
	}
}

func TestPage(t *testing.T) {
	w := do(shown(t, config(t)), request(http.MethodGet, "/", ""))
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %s", w.Code, w.Header().Get("Content-Type"))
	}
	checkMarkup(t, w.Body.String())
	for _, want := range []string{
		"<h1>relay.example.com</h1>", ">normal<", "people", "192.0.2.25:587, [2001:db8::25]:587",
		"10.0.5.20/31, 10.1.0.0/16",
		"STARTTLS required", "STARTTLS offered", "<td>none</td>", "BasicAuthRequireTLS",
		"AnonymousUsers",
		"<li>anonymous: ms-Exch-SMTP-Accept-Any-Recipient", "36 MiB", "*.example.net",
		"ExternalRelay", "example.org and subdomains",
		"smtp1.example.net, smtp2.example.net:465", "CertificateValidation", "*;1", "<td>yes</td>",
		`<option>people</option>`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q in the page", want)
		}
	}
	for _, secret := range []string{"hidden-", "off.example", ">off<"} {
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%q in the page", secret)
		}
	}
}

// checkMarkup looks for what a page of this package never has, and for what
// helps those who do not see it.
func checkMarkup(t *testing.T, body string) {
	t.Helper()
	lower := strings.ToLower(body)
	for _, bad := range []string{
		"<script", "javascript:", "onerror=", "onload=", "http://", "https://", " style=",
		`href="/`, `action="/`, "<th>", "<img",
	} {
		if strings.Contains(lower, bad) {
			t.Errorf("%q in the page", bad)
		}
	}
	if !strings.HasPrefix(body, "<!doctype html>\n<html lang=\"en\">") ||
		strings.Count(body, "<table") != strings.Count(body, "<caption>") {
		t.Error("no language, or a table without a caption")
	}
	for _, field := range regexp.MustCompile(
		`<(?:input|select) id="(\w+)"`,
	).FindAllStringSubmatch(body, -1) {
		if !strings.Contains(body, `<label for="`+field[1]+`">`) {
			t.Errorf("field %s has no label", field[1])
		}
	}
}

func TestHeaders(t *testing.T) {
	h := shown(t, config(t))
	for _, r := range []*http.Request{
		request(http.MethodGet, "/", ""), request(http.MethodGet, "/status", ""),
		request(http.MethodGet, "/nothing", ""),
		request(http.MethodPost, "/", ""), postForm("remote=192.0.2.7&connector=apps"),
		postForm("remote=x"), postJSON("{}"),
	} {
		head := do(h, r).Header()
		policy := head.Get("Content-Security-Policy")
		for _, want := range []string{
			"default-src 'none'; ", "form-action 'self'; ", "base-uri 'none'; ",
			"frame-ancestors 'none'",
		} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s %s: policy %q", r.Method, r.URL, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || head.Get("Cache-Control") != "no-store" ||
			head.Get("X-Content-Type-Options") != "nosniff" ||
			head.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s %s: %v", r.Method, r.URL, head)
		}
	}
	w := do(h, request(http.MethodGet, "/", ""))
	_, css, _ := strings.Cut(w.Body.String(), "<style>")
	css, _, _ = strings.Cut(css, "</style>")
	sum := sha256.Sum256([]byte(css))
	if !strings.Contains(
		w.Header().Get("Content-Security-Policy"),
		"style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'",
	) {
		t.Error("the policy does not allow the page's style")
	}
}

func TestMethods(t *testing.T) {
	h := shown(t, config(t))
	for _, test := range []struct {
		method, target string
		code           int
		allow          string
	}{
		{"GET", "/", 200, ""}, {"HEAD", "/", 200, ""}, {"GET", "/status", 200, ""},
		{"HEAD", "/status", 200, ""},
		{"POST", "/", 405, "GET, HEAD"}, {"DELETE", "/status", 405, "GET, HEAD"},
		{"OPTIONS", "/status", 405, "GET, HEAD"},
		{"GET", "/explain", 405, "POST"}, {"HEAD", "/explain", 405, "POST"},
		{"GET", "/status/", 404, ""}, {"GET", "//", 404, ""}, {"GET", "/queue", 404, ""},
		{"POST", "/queue/1/remove", 404, ""},
	} {
		w := do(h, request(test.method, "https://relay.example.com"+test.target, ""))
		if allow := strings.Join(w.Header().Values("Allow"), ", "); w.Code != test.code ||
			allow != test.allow {
			t.Errorf("%s %s: %d, Allow %q", test.method, test.target, w.Code, allow)
		}
	}
}

// TestMounted serves below a path, through a real server.
func TestMounted(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/ops/relay/", http.StripPrefix("/ops/relay", shown(t, config(t))))
	s := httptest.NewServer(mux)
	defer s.Close()
	get := func(res *http.Response, err error) (string, *http.Response) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %s %v", res.Request.URL, res.Status, err)
		}
		return string(body), res
	}
	body, res := get(s.Client().Get(s.URL + "/ops/relay")) // the mux adds the slash
	for _, link := range regexp.MustCompile(
		`(?:href|action)="([^"]*)"`,
	).FindAllStringSubmatch(body, -1) {
		u, err := res.Request.URL.Parse(link[1])
		if err != nil {
			t.Fatal(err)
		}
		switch u.Path {
		case "/ops/relay/":
		case "/ops/relay/status":
			get(s.Client().Get(u.String()))
		case "/ops/relay/explain":
			answer, _ := get(
				s.Client().PostForm(
					u.String(), url.Values{"remote": {"10.1.2.3"}, "connector": {"apps"}},
				),
			)
			if !strings.Contains(answer, `<a href="./">`) ||
				!strings.Contains(answer, `action="explain#answer"`) {
				t.Errorf("answer: %s", answer)
			}
		default:
			t.Errorf("the link %s leads to %s", link[1], u)
		}
	}
	if empty, res := get(s.Client().Head(s.URL + "/ops/relay/")); empty != "" ||
		res.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("HEAD: %q %v", empty, res.Header)
	}
}

// TestHostile has markup wherever a configuration or a client can bring it.
func TestHostile(t *testing.T) {
	const script = `"'></option><script>alert(1)</script>`
	cfg := config(t)
	cfg.Connectors[0].Name = script + "0"
	cfg.Connectors[1].Name = script + "1"
	cfg.Connectors[1].Grants = []connector.Grant{
		{Principal: connector.User(script), Rights: connector.Submit},
	}
	cfg.SendConnectors[0].Name = script
	h := shown(t, cfg)
	const escaped = "&lt;/option&gt;&lt;script&gt;alert(1)&lt;/script&gt;"

	w := do(h, request(http.MethodGet, "/", ""))
	checkMarkup(t, w.Body.String())
	// three captions, two options, a grant
	if n := strings.Count(w.Body.String(), escaped); n != 6 {
		t.Errorf("%d times in the page:\n%s", n, w.Body)
	}
	for _, form := range []url.Values{
		{
			"remote": {script}, "connector": {script}, "local": {script}, "user": {script},
			"from": {script}, "to": {script}, "size": {script},
		},
		{"remote": {"10.1.2.3"}, "connector": {script + "1"}, "user": {script}, "from": {
			`"` + strings.ReplaceAll(script, `"`, ``) + `"@example.com`,
		},
			"to": {`"<script>alert(1)</script>"@example.com`}, "size": {"1"}},
		{
			"remote": {"10.1.2.3"}, "connector": {script + "0"}, "from": {`"<script>"@example.com`},
			"to": {`"<script>"@example.com`}, "tls": {"true"},
		},
	} {
		w := do(h, postForm(form.Encode()))
		if w.Code != 200 && w.Code != 422 {
			t.Errorf("%v: %d %s", form, w.Code, w.Body)
		}
		checkMarkup(t, w.Body.String())
		if !strings.Contains(w.Body.String(), escaped) {
			t.Errorf("%v: what was asked is not shown:\n%s", form, w.Body)
		}
	}
	if w := do(h, request(http.MethodGet, "/status", "")); strings.Contains(w.Body.String(), "<") {
		t.Errorf("markup in the JSON: %s", w.Body)
	}
}

func TestBounded(t *testing.T) {
	cfg := config(t)
	cfg.Connectors[0].RemoteIPRanges = ranges(25)
	for i := range 150 {
		c := connector.AnonymousRelay(
			fmt.Sprintf("more%03d", i), connector.MustParseRange("198.51.100.7"),
		)
		c.Bindings = bindings(fmt.Sprintf("192.0.2.25:%d", 10000+i))
		cfg.Connectors = append(cfg.Connectors, c)
		cfg.SendConnectors = append(cfg.SendConnectors, &connector.SendConnector{
			Name:          fmt.Sprintf("more%03d", i),
			AddressSpaces: []connector.AddressSpace{{Domain: fmt.Sprintf("d%03d.example", i)}},
		})
	}
	for i := range 300 {
		cfg.AcceptedDomains = append(
			cfg.AcceptedDomains,
			domains.AcceptedDomain{
				Domain: fmt.Sprintf("d%03d.example.edu", i), Type: domains.ExternalRelay,
			},
		)
	}
	h := shown(t, cfg)
	page := do(h, request(http.MethodGet, "/", "")).Body.String()
	for _, want := range []string{
		"198.51.100.18, 198.51.100.19 and 5 more", "more096</caption>", "And 53 more.",
		"d196.example.edu", "And 103 more.", "more098</caption>", "And 51 more.",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	for _, more := range []string{"198.51.100.20", "more099", "d197.example.edu"} {
		if strings.Contains(page, more) {
			t.Errorf("%q in the page", more)
		}
	}
	var s struct {
		Connectors, AcceptedDomains, SendConnectors struct {
			Items []struct{ RemoteRanges struct{ More int } }
			More  int
		}
	}
	body := do(h, request(http.MethodGet, "/status", "")).Body.String()
	for name, field := range map[string]string{
		"accepted_domains": "AcceptedDomains", "send_connectors": "SendConnectors",
		"remote_ranges": "RemoteRanges",
	} {
		body = strings.ReplaceAll(body, `"`+name+`"`, `"`+field+`"`)
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Connectors.Items) != 100 || s.Connectors.More != 53 ||
		s.Connectors.Items[0].RemoteRanges.More != 5 ||
		len(s.AcceptedDomains.Items) != 200 || s.AcceptedDomains.More != 103 ||
		len(s.SendConnectors.Items) != 100 || s.SendConnectors.More != 51 {
		t.Errorf("%+v", s)
	}
	if w := do(h, postForm("remote=198.51.100.7&local=192.0.2.25:10149")); !strings.Contains(
		w.Body.String(), "<td>more149</td>",
	) || !strings.Contains(w.Body.String(), "And 53 more.") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
