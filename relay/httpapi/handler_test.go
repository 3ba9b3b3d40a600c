package httpapi_test

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/httpapi"
)

const letter = "From: app@example.com\nSubject: hi\n\nHello\n"

func basic(r *http.Request, user, password string) *http.Request {
	r.SetBasicAuth(user, password)
	return r
}

// with adds a field to those there are.
func with(r *http.Request, name, value string) *http.Request {
	r.Header.Add(name, value)
	return r
}

func plain(r *http.Request) *http.Request {
	r.TLS = nil
	return r
}

func from(r *http.Request, remote string) *http.Request {
	r.RemoteAddr = remote
	return r
}

func chunked(r *http.Request) *http.Request {
	r.ContentLength = -1
	return r
}

func broken(r *http.Request) *http.Request {
	r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, 50), failing{}))
	return r
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range refusals() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.change)
			a := w.do(c.request)
			if a.Status != c.status || a.SMTP.Code != c.code || a.SMTP.Enhanced != c.enhanced {
				t.Fatalf("%d %q, want %d %d %s", a.Status, a.Body, c.status, c.code, c.enhanced)
			}
			if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("Content-Type is %q", ct)
			}
			if c.request.Method != http.MethodHead &&
				(a.Type != "about:blank" || a.Title != http.StatusText(c.status)) {
				t.Errorf("type %q, title %q", a.Type, a.Title)
			}
			for status, field := range map[int]string{
				401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After",
			} {
				if a.Status == status && a.Header.Get(field) == "" {
					t.Errorf("%s is missing", field)
				}
			}
			if strings.Contains(a.Body, "secret") || strings.Contains(a.Body, "database") {
				t.Errorf("the body tells of internals: %s", a.Body)
			}
			if len(w.queued()) != 0 {
				t.Error("the message was queued")
			}
			if n := httpapi.Buffered(w.handler); n != 0 {
				t.Errorf("%d octets still count as held", n)
			}
			events := w.rejected()
			if c.stage == "" {
				if len(events) != 0 {
					t.Errorf("events %+v, want none", events)
				}
				return
			}
			if len(events) != 1 {
				t.Fatalf("events %+v, want one", events)
			}
			e := events[0]
			if string(e.Stage) != c.stage || e.Code != c.code || e.Enhanced != c.enhanced ||
				e.User != c.user || e.Connector != w.http.Connector || !e.Remote.IsValid() {
				t.Errorf("event %+v, want %+v", e, c)
			}
			if strings.Contains(w.log.String(), "wrong") ||
				strings.Contains(w.log.String(), "c2VjcmV0") {
				t.Errorf("the log holds a secret: %s", w.log.String())
			}
		})
	}
}

func TestRaw(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.do(raw("from=app@example.com&to=bob@example.net&to=bob@example.net&to=ann@example.net"+
		"&envelope_id=E1&return=hdrs&notify=success,failure&label=job:7&label=tenant:other",
		"Bcc: hidden@example.net\n"+letter))
	if a.Status != 202 || a.QueueID == "" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	list := w.queued()
	var to []string
	for _, m := range list {
		for _, r := range m.to {
			to = append(to, r.Address+" "+r.Notify.String())
		}
	}
	m := list[0]
	if m.ID.String() != a.QueueID || m.From != "app@example.com" ||
		fmt.Sprint(to) != "[bob@example.net SUCCESS,FAILURE ann@example.net SUCCESS,FAILURE]" {
		t.Errorf("%v %v to %v", m.ID, m.From, to)
	}
	if m.EnvelopeID != "E1" || m.Return != "HDRS" ||
		fmt.Sprint(m.Labels) != "map[job:7 tenant:shop]" {
		t.Errorf(
			"envelope %q %q %v: the user's own label must stay", m.EnvelopeID, m.Return, m.Labels,
		)
	}
	if m.Origin.Connector != "users" || m.Origin.User != "app" ||
		!strings.HasPrefix(m.Origin.Remote, "192.0.2.1:") {
		t.Errorf("origin %+v", m.Origin)
	}
	for _, want := range []string{
		"Received: from [192.0.2.1] ([192.0.2.1])", "with HTTPS id " + a.QueueID,
		"using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256",
		"Message-ID: <", "Date: ", "\r\nSubject: hi\r\n\r\nHello\r\n",
	} {
		if !strings.Contains(strings.ReplaceAll(m.content, "\r\n\t", " "), want) {
			t.Errorf("%q is missing in\n%s", want, m.content)
		}
	}
	if strings.Contains(m.content, "hidden@") {
		t.Error("Bcc was not removed")
	}
}

// TestRawMailboxLine drops the line of a mailbox file from before the header.
func TestRawMailboxLine(t *testing.T) {
	for _, line := range []string{"From x Mon Sep  1 00:00:00 2025\n", ">From x\r\n"} {
		w := newWorld(t, nil)
		content := line + "From: app@example.com\nBcc: hidden@example.net\n\nFrom me\rto you\n"
		if a := w.do(raw("from=app@example.com&to=a@example.net", content)); a.Status != 202 {
			t.Fatalf("%q: %+v", line, a)
		}
		got := w.one().content
		if strings.Contains(got, "From x") || strings.Contains(got, "hidden") ||
			!strings.HasSuffix(got, "From: app@example.com\r\n\r\nFrom me\r\nto you\r\n") {
			t.Errorf("%q became %q", content, got)
		}
	}
}

func TestNullSender(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if a := w.do(raw("from=&to=bob@example.net", letter)); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if m := w.one(); m.From != "" {
		t.Fatalf("sender is %q", m.From)
	}
}

func TestAnonymous(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.http.Connector = "printers" })
	r := plain(
		from(
			post(`{"from":"printer@example.net","to":["bob@example.net"]}`, "Authorization", ""),
			"[::ffff:198.51.100.7]:99",
		),
	)
	if a := w.do(r); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	m := w.one()
	if m.Origin.User != "" || m.Origin.Remote != "198.51.100.7:99" ||
		!strings.Contains(m.content, "with HTTP\r\n\tid") ||
		!strings.Contains(m.content, "Message-ID: ") {
		t.Fatalf("%+v\n%s", m.Origin, m.content)
	}
}

// TestNarrowerConnector: who belongs to another connector on the same binding
// does not get in here.
func TestNarrowerConnector(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.users.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:25")}
		other := connector.New("quarantine", connector.Custom)
		other.Bindings = w.users.Bindings
		other.RemoteIPRanges = []connector.Range{connector.MustParseRange("192.0.2.0/24")}
		w.cfg.Connectors = append(w.cfg.Connectors, other)
	})
	if a := w.do(post(simple)); a.Status != 403 || a.SMTP.Code != 554 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if a := w.do(from(post(simple), "203.0.113.1:1")); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
}

func TestRecipientErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.do(
		post(
			`{"from":"app@example.com","to":["slow@example.com",` +
				`"alice@example.com"],"cc":["nobody@example.com"],"bcc":["bob@example.net"]}`,
		),
	)
	if a.Status != 422 || a.SMTP.Code != 550 || len(a.Errors) != 2 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if e := a.Errors; e[0].Recipient != "slow@example.com" || e[0].SMTP.Code != 451 ||
		e[1].Recipient != "nobody@example.com" || e[1].SMTP.Code != 550 {
		t.Errorf("errors %+v", e)
	}
	if e := w.rejected(); len(e) != 2 || e[1].To[0] != "nobody@example.com" ||
		e[1].From != "app@example.com" {
		t.Errorf("events %+v", e)
	}
	if len(w.queued()) != 0 {
		t.Error("the message was queued for some")
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	if _, err := httpapi.New(httpapi.Config{RequireForwarded: true}); err == nil ||
		!strings.Contains(err.Error(), "RequireForwarded") {
		t.Errorf("%v", err)
	}
	_, err := httpapi.New(
		httpapi.Config{Proxies: make([]connector.Range, 1), MaxJSONBytes: -1, MaxBuffered: -1},
	)
	for _, field := range []string{"Relay", "Proxies[0]", "MaxJSONBytes", "MaxBuffered"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v says nothing of %s", err, field)
		}
	}
	w := newWorld(t, nil)
	if _, err := httpapi.New(
		httpapi.Config{Relay: w.http.Relay, Connector: "nobody"},
	); err == nil || !strings.Contains(err.Error(), "Connector") {
		t.Errorf("unknown connector: %v", err)
	}
}

// TestReload: the connector may go away, and the relay too.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	cfg := w.cfg
	cfg.Connectors = cfg.Connectors[1:]
	if err := w.http.Relay.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if a := w.do(post(simple)); a.Status != 503 || a.SMTP.Enhanced != "4.3.2" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	w.http.Relay.Close()
	if a := w.do(post(simple)); a.Status != 503 || a.SMTP.Enhanced != "4.3.2" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, r := range []*http.Request{
		post(simple), request("GET", "/", ""), request("GET", "/openapi.json", ""),
		request("OPTIONS", "/messages", "", "Origin", "https://evil.example"),
	} {
		a := w.do(r)
		for _, field := range []string{
			"X-Content-Type-Options", "Cache-Control", "Content-Security-Policy", "Referrer-Policy",
		} {
			if a.Header.Get(field) == "" {
				t.Errorf("%s %s: %s is missing", r.Method, r.URL, field)
			}
		}
		for field := range a.Header {
			if strings.HasPrefix(field, "Access-Control-") {
				t.Errorf("%s %s: %s", r.Method, r.URL, field)
			}
		}
	}
}
