package httpapi_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/httpapi"
)

const letter = "From: app@example.com\nSubject: hi\n\nHello\n"

// refusals has a row for every status and every reply that leads to it.
func refusals() []refusal {
	small := func(w *world) { w.users.Limits.MaxMessageBytes = 64 << 10 }
	headers := func(w *world) { w.users.Limits.MaxHeaderBytes = 64 }
	return []refusal{
		{"no such resource", nil, request("GET", "/", ""), 404, 0, "", "", ""},
		{"subresource", nil, request("POST", "/messages/1", simple), 404, 0, "", "", ""},
		{"method", nil, request("GET", "/messages", ""), 405, 0, "", "", ""},
		{"head", nil, request("HEAD", "/messages", ""), 405, 0, "", "", ""},
		{"method of the document", nil, request("POST", "/openapi.json", ""), 405, 0, "", "", ""},

		{"not logged on", nil, post(simple, "Authorization", ""), 401, 530, "5.7.1", "mail", ""},
		{
			"wrong password", nil, basic(post(simple), "app", "wrong"), 401, 535, "5.7.8", "auth",
			"app",
		},
		{
			"name of no user", nil, basic(post(simple), "a\x00b", "secret"), 401, 535, "5.7.8",
			"auth", "",
		},
		{
			"another scheme", nil, post(simple, "Authorization", "Bearer abc"), 401, 504, "5.7.4",
			"auth", "",
		},
		{
			"no verifier", nil, basic(post(simple), "down", "secret"), 503, 454, "4.7.0", "auth",
			"down",
		},
		{
			"throttled", nil, basic(post(simple), "throttled", "secret"), 429, 454, "4.7.0", "auth",
			"throttled",
		},
		{"user without the right to submit", func(w *world) {
			w.users.Grants = []connector.Grant{
				{Principal: connector.User("app"), Rights: connector.Submit, Deny: true},
			}
		}, post(simple), 401, 535, "5.7.8", "auth", "app"},
		{"password without TLS", nil, plain(post(simple)), 403, 538, "5.7.11", "auth", ""},
		{"connector requires TLS", func(w *world) {
			w.users.RequireTLS, w.users.PermissionGroups = true, connector.AnonymousUsers
		}, plain(post(simple, "Authorization", "")), 403, 530, "5.7.0", "mail", ""},
		{"relay requires TLS", func(w *world) { w.cfg.RequireEncryption = true },
			plain(post(simple, "Authorization", "")), 403, 530, "5.7.0", "connect", ""},
		{"passwords are not taken", func(w *world) { w.http.Connector = "printers" },
			from(post(simple), "198.51.100.9:1"), 403, 502, "5.5.1", "auth", ""},
		{"address outside the ranges", func(w *world) { w.http.Connector = "printers" },
			post(simple, "Authorization", ""), 403, 554, "5.7.1", "connect", ""},
		{"no address", nil, from(post(simple), "@"), 403, 0, "", "", ""},
		{"policy at connect", func(w *world) {
			w.cfg.Policy.Connect = func(context.Context, *relay.Session) error {
				return relay.Reject(554, "5.7.1", "Not you")
			}
		}, post(simple), 403, 554, "5.7.1", "connect", ""},
		{"policy fails", func(w *world) {
			w.cfg.Policy.Mail = func(context.Context, *relay.Session, domains.Address) error {
				return errDown
			}
		}, post(simple), 503, 451, "4.3.0", "mail", "app"},

		{"cap reached", func(w *world) {
			w.cfg.Quota = spent{&auth.CredentialError{Refusal: auth.RateReached}}
		}, post(simple), 429, 450, "4.7.1", "data", "app"},
		{"credential held", func(w *world) {
			w.cfg.Quota = spent{&auth.CredentialError{Refusal: auth.Held}}
		}, post(simple), 403, 550, "5.7.1", "data", "app"},
		{"credential expired meanwhile", func(w *world) {
			w.cfg.Quota = spent{&auth.CredentialError{Refusal: auth.Expired}}
		}, post(simple), 403, 550, "5.7.1", "data", "app"},
		{"credential rotated meanwhile", func(w *world) {
			w.cfg.Quota = spent{&auth.CredentialError{Refusal: auth.SecretExpired}}
		}, post(simple), 503, 421, "4.7.0", "data", "app"},
		{"quota fails", func(w *world) {
			w.cfg.Quota = spent{errDown}
		}, post(simple), 503, 451, "4.3.0", "data", "app"},

		{"content type", nil, post(simple, "Content-Type", "text/plain"), 415, 0, "", "", ""},
		{
			"character set", nil, post(simple, "Content-Type", "application/json; charset=latin1"),
			415, 0, "", "", "",
		},
		{
			"two content types", nil, with(post(simple), "Content-Type", "text/plain"), 415, 0, "",
			"", "",
		},
		{"no content type", nil, post(simple, "Content-Type", ""), 415, 0, "", "", ""},
		{"compressed", nil, post(simple, "Content-Encoding", "gzip"), 415, 0, "", "", ""},

		{"no JSON", nil, post(`{"from":`), 400, 501, "5.5.4", "data", "app"},
		{
			"query beside JSON", nil, request("POST", "/messages?from=a", simple), 400, 501,
			"5.5.4", "mail", "app",
		},
		{
			"no recipients", nil, post(`{"from":"app@example.com"}`), 400, 554, "5.5.1", "rcpt",
			"app",
		},
		{
			"sender of somebody else", nil,
			post(`{"from":"bob@example.com","to":["a@example.net"]}`), 403, 550, "5.7.60", "mail",
			"app",
		},
		{"author is somebody else", nil,
			post(
				`{"from":"bob@example.com","envelope_from":"app@example.com","to":["a@example.net"]}`,
			), 403, 550, "5.7.60", "data", "app"},
		{
			"unknown recipient", nil,
			post(`{"from":"app@example.com","to":["nobody@example.com"]}`), 422, 550, "5.1.1",
			"rcpt", "app",
		},
		{
			"lookup fails", nil, post(`{"from":"app@example.com","to":["slow@example.com"]}`), 503,
			451, "4.3.0", "rcpt", "app",
		},
		{"no right to relay", func(w *world) {
			w.users.Grants = []connector.Grant{
				{
					Principal: connector.Authenticated, Rights: connector.AcceptAnyRecipient,
					Deny: true,
				},
			}
		}, post(simple), 403, 550, "5.7.54", "rcpt", "app"},
		{"too many recipients", func(w *world) { w.users.Limits.MaxRecipients = 2 },
			post(
				`{"from":"app@example.com","to":["a@example.net","b@example.net","c@example.net"]}`,
			), 422, 452, "4.5.3", "rcpt", "app"},
		{"too many in the query", func(w *world) { w.users.Limits.MaxRecipients = 2 },
			raw(
				"from=app@example.com&to=a@example.net&to=b@example.net&to=c@example.net", letter,
			), 422, 452, "4.5.3", "rcpt", "app"},
		{"policy on a recipient", func(w *world) {
			w.cfg.Policy.Rcpt = func(
				context.Context, *relay.Session, domains.Address, domains.Address,
			) error {
				return relay.Reject(550, "5.2.1", "Mailbox disabled")
			}
		}, post(simple), 422, 550, "5.2.1", "rcpt", "app"},

		{
			"JSON too large", small,
			post(`{"from":"app@example.com","text":"` + strings.Repeat("a", 64<<10) + `"}`), 413,
			552, "5.3.4", "data", "app",
		},
		{
			"JSON of unknown length too large", small,
			chunked(
				post(`{"from":"app@example.com","text":"` + strings.Repeat("a", 64<<10) + `"}`),
			),
			413, 552, "5.3.4", "data", "app",
		},
		{"message made of JSON too large", small,
			post(
				`{"from":"app@example.com","to":["a@example.net"],"text":"` + strings.Repeat(
					"ä", 24<<10,
				) + `"}`,
			), 413, 552, "5.3.4", "mail", "app"},
		{"MaxJSONBytes", func(w *world) {
			w.http.MaxJSONBytes = 10
		}, post(simple), 413, 552, "5.3.4", "data", "app"},
		{
			"message too large", small,
			raw("from=app@example.com&to=a@example.net", letter+strings.Repeat("a", 64<<10)), 413,
			552, "5.3.4", "mail", "app",
		},
		{"message of unknown length too large", small,
			chunked(
				raw("from=app@example.com&to=a@example.net", letter+strings.Repeat("a", 64<<10)),
			), 413, 552, "5.3.4", "data", "app"},
		{"message too large once its line ends are whole", small,
			raw("from=app@example.com&to=a@example.net", letter+strings.Repeat("\r", 40<<10)),
			413, 552, "5.3.4", "data", "app"},
		{
			"header too large", headers,
			raw(
				"from=app@example.com&to=a@example.net", "Subject: "+strings.Repeat("a", 99)+"\n\n",
			),
			413, 552, "5.3.4", "data", "app",
		},

		{"query malformed", nil, raw("from=%zz", letter), 400, 501, "5.5.4", "mail", "app"},
		{
			"query without from", nil, raw("to=a@example.net", letter), 400, 501, "5.5.4", "mail",
			"app",
		},
		{
			"from twice", nil, raw("from=a&from=b&to=a@example.net", letter), 400, 501, "5.5.4",
			"mail", "app",
		},
		{
			"unknown parameter", nil, raw("from=a&size=1&to=a@example.net", letter), 400, 501,
			"5.5.4", "mail", "app",
		},
		{
			"notify malformed", nil, raw("from=a&notify=NEVER,DELAY&to=a@example.net", letter), 400,
			501, "5.5.4", "mail", "app",
		},
		{
			"label malformed", nil, raw("from=a&label=:a&to=a@example.net", letter), 400, 501,
			"5.5.4", "mail", "app",
		},
		{
			"return malformed", nil,
			raw("from=app@example.com&return=ALL&to=a@example.net", letter), 400, 501, "5.5.4",
			"mail", "app",
		},
		{
			"envelope id malformed", nil,
			raw("from=app@example.com&envelope_id=%0a&to=a@example.net", letter), 400, 501, "5.5.4",
			"mail", "app",
		},
		{
			"sender malformed", nil, raw("from=app&to=a@example.net", letter), 400, 501, "5.1.7",
			"mail", "app",
		},
		{
			"recipient malformed", nil, raw("from=app@example.com&to=a@example.net%3e", letter),
			400, 501, "5.1.3", "rcpt", "app",
		},
		{
			"NUL in content", nil, raw("from=app@example.com&to=a@example.net", letter+"\x00"), 422,
			550, "5.6.11", "data", "app",
		},
		{"bare CR in the header", nil,
			raw("from=app@example.com&to=a@example.net",
				"X-A: y\rFrom: ceo@example.com\r\n"+letter),
			422, 550, "5.6.11", "data", "app"},
		{"bare CR in the header of a part", nil,
			raw("from=app@example.com&to=a@example.net",
				"Content-Type: multipart/mixed; boundary=b\r\n"+
					"\r\n--b\r\nX-A: y\rX-B: z\r\n\r\nhi\r\n--b--\r\n"),
			422, 550, "5.6.11", "data", "app"},
		{
			"body breaks off", nil, broken(raw("from=app@example.com&to=a@example.net", letter)),
			503, 451, "4.3.0", "data", "app",
		},
		{"JSON body breaks off", nil, broken(post(simple)), 503, 451, "4.3.0", "data", "app"},
		{
			"loop", nil,
			raw(
				"from=app@example.com&to=a@example.net", strings.Repeat("Received: x\n", 40)+letter,
			),
			422, 554, "5.4.6", "data", "app",
		},

		{"pressure", func(w *world) {
			w.cfg.Pressure = relay.Pressure{MemoryHigh: 1}
		}, post(simple), 503, 452, "4.3.1", "mail", "app"},
		{"no room for JSON", func(w *world) {
			w.http.MaxBuffered = 100
		}, post(simple), 503, 452, "4.3.1", "data", "app"},
		{"key malformed", nil, post(simple, "Idempotency-Key", "a\tb"), 400, 0, "", "", ""},
		{
			"key too long", nil, post(simple, "Idempotency-Key", strings.Repeat("a", 256)), 400, 0,
			"", "", "",
		},
	}
}

// spent is a quota that is always up.
type spent struct{ err error }

func (s spent) Spend(context.Context, *auth.Identity) error { return s.err }

type refusal struct {
	name     string
	change   func(*world)
	request  *http.Request
	status   int
	code     int // 0: no SMTP reply
	enhanced string
	stage    string // of the Rejected event; empty for none
	user     string // of it
}

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

// TestRawLimit takes what is as large as the limit allows, wherever the line
// ends lie in what is read at once.
func TestRawLimit(t *testing.T) {
	const limit = 64 << 10
	for _, head := range []string{"Subject: x\r\n\r\n", "Subject: xy\r\n\r\n"} {
		room := limit - len(head)
		content := head + strings.Repeat("x", room%2) + strings.Repeat("\r\n", room/2)
		for more, want := range map[string]int{"": 202, "x": 413} {
			w := newWorld(t, func(w *world) { w.users.Limits.MaxMessageBytes = limit })
			if a := w.do(raw("from=app@example.com&to=a@example.net",
				content+more)); a.Status != want {
				t.Errorf("%q and %d octets: %+v", head, len(more), a)
			}
			if a := w.do(chunked(raw("from=app@example.com&to=a@example.net",
				content+more))); a.Status != want {
				t.Errorf("%q and %d octets of unknown length: %+v", head, len(more), a)
			}
		}
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

// TestLoopback: with RequireEncryption a client on this host may do without
// TLS.
func TestLoopback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.cfg.RequireEncryption = true
		w.users.AuthMechanisms &^= connector.BasicAuthRequireTLS
	})
	if a := w.do(plain(from(post(simple), "127.0.0.1:5"))); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if a := w.do(plain(post(simple))); a.Status != 403 || a.SMTP.Enhanced != "5.7.0" {
		t.Fatalf("%d %s", a.Status, a.Body)
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
			`{"from":"app@example.com","to":["slow@example.com","alice@example.com"],"cc":["nobody@example.com"],"bcc":["bob@example.net"]}`,
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

func TestMessageRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.users.Limits.MessageRate = 2 })
		for i, want := range []int{202, 202, 429} {
			if a := w.do(post(simple)); a.Status != want {
				t.Fatalf("message %d: %d %s", i, a.Status, a.Body)
			}
		}
		a := w.do(post(simple))
		if a.SMTP.Code != 421 || a.SMTP.Enhanced != "4.4.2" || a.Header.Get("Retry-After") != "60" {
			t.Fatalf("%s %v", a.Body, a.Header)
		}
		time.Sleep(time.Minute)
		if a := w.do(post(simple)); a.Status != 202 {
			t.Fatalf("after a minute: %d", a.Status)
		}
	})
}

// TestTarpit: refusals are held back, but not when the client has gone, and not
// being asked to log on.
func TestTarpit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world) {
			w.users.Limits.Tarpit, w.users.Limits.AuthTarpit = 3*time.Second, 7*time.Second
		})
		took := func(r *http.Request, status int) time.Duration {
			t.Helper()
			start := time.Now()
			if a := w.do(r); a.Status != status {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
			return time.Since(start)
		}
		if d := took(basic(post(simple), "app", "wrong"), 401); d != 7*time.Second {
			t.Errorf("bad credentials took %v", d)
		}
		if d := took(post(simple, "Authorization", ""), 401); d != 0 {
			t.Errorf("the challenge took %v", d)
		}
		if d := took(basic(post(simple), "down", "x"), 503); d != 0 {
			t.Errorf("a failing verifier took %v", d)
		}
		if d := took(post(`{"from":"bob@example.com","to":["a@example.net"]}`), 403); d != 0 {
			t.Errorf("a user's refusal took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if d := took(basic(post(simple), "app", "wrong").WithContext(ctx), 401); d != time.Second {
			t.Errorf("after the client had gone it took %v", d)
		}
	})
}

// TestHarvest: guessing recipients costs an anonymous client time for each.
func TestHarvest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world) {
			w.http.Connector = "printers"
			w.cfg.Connectors[1].Limits.Tarpit = 2 * time.Second
		})
		start := time.Now()
		r := from(
			post(
				`{"from":"p@example.net","to":["x@example.com","y@example.com","alice@example.com"]}`,
				"Authorization", "",
			),
			"198.51.100.7:9",
		)
		if a := w.do(r); a.Status != 422 || len(a.Errors) != 2 ||
			time.Since(start) != 4*time.Second {
			t.Fatalf("%d %s after %v", a.Status, a.Body, time.Since(start))
		}
	})
}

// TestAtATime: a source may not have more requests under way than connections.
func TestAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.users.Limits.MaxConnectionsPerSource = 1
		w.users.Limits.MaxConnections = 2
	})
	release, entered := make(chan struct{}), make(chan struct{})
	block := func(remote string) <-chan answer {
		r := from(raw("from=app@example.com&to=bob@example.net", ""), remote)
		r.Body, r.ContentLength = io.NopCloser(blocking{entered, release}), -1
		done := make(chan answer)
		go func() { done <- w.do(r) }()
		<-entered
		return done
	}
	one := block("192.0.2.1:1")
	if a := w.do(post(simple)); a.Status != 503 || a.SMTP.Enhanced != "4.3.2" ||
		a.Header.Get("Retry-After") == "" {
		t.Fatalf("same source: %d %s", a.Status, a.Body)
	}
	two := block("[2001:db8::1]:1")
	if a := w.do(from(post(simple), "[2001:db8::2]:1")); a.Status != 503 {
		t.Fatalf("same network: %d %s", a.Status, a.Body)
	}
	if a := w.do(from(post(simple), "192.0.2.3:1")); a.Status != 503 {
		t.Fatalf("too many in all: %d %s", a.Status, a.Body)
	}
	close(release)
	if a, b := <-one, <-two; a.Status != 202 || b.Status != 202 {
		t.Fatalf("%s %s", a.Body, b.Body)
	}
	if a := w.do(post(simple)); a.Status != 202 {
		t.Fatalf("afterwards: %d %s", a.Status, a.Body)
	}
}

type blocking struct{ entered, release chan struct{} }

func (b blocking) Read([]byte) (int, error) {
	b.entered <- struct{}{}
	<-b.release
	return 0, io.EOF
}

func TestProxies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.http.Proxies = []connector.Range{
			connector.MustParseRange("10.0.0.0/8"), connector.MustParseRange("127.0.0.1/32"),
		}
		w.cfg.RequireEncryption = true
		w.cfg.Policy.Message = func(_ context.Context, s *relay.Session, _ *relay.Incoming) error {
			if s.TLS == nil || len(s.TLS.PeerCertificates) > 0 ||
				s.Proxy.Addr() != netip.MustParseAddr("10.0.0.1") && !s.Proxy.Addr().IsLoopback() {
				return relay.Reject(550, "5.7.1", "Not as the proxy says")
			}
			return nil
		}
	})
	for _, c := range []struct {
		name, remote, chain, proto, forwarded string
		status                                int
		client                                string
	}{
		{"https", "10.0.0.1:1", "203.0.113.5", "https", "", 202, "203.0.113.5:0"},
		{"IPv6", "10.0.0.1:1", "2001:db8::7", "https", "", 202, "[2001:db8::7]:0"},
		{
			"what the client claims does not count", "10.0.0.1:1",
			"127.0.0.1, 198.51.100.1, 203.0.113.5, 10.2.2.2", "HTTPS", "", 202, "203.0.113.5:0",
		},
		{"https in the clear", "10.0.0.1:1", "203.0.113.5", "https", "", 403, ""},
		{"for its own host in the clear", "10.0.0.1:1", "127.0.0.1", "https", "", 403, ""},
		{
			"https in the clear on this host", "127.0.0.1:1", "203.0.113.5", "https", "", 202,
			"203.0.113.5:0",
		},
		{"http in the clear on this host", "127.0.0.1:1", "203.0.113.5", "http", "", 403, ""},
		{"http", "10.0.0.1:1", "203.0.113.5", "http", "", 403, ""},
		{"nothing said of TLS", "10.0.0.1:1", "203.0.113.5", "", "", 403, ""},
		{"nothing said of the client", "10.0.0.1:1", "", "https", "", 403, ""},
		{"no address", "10.0.0.1:1", "unknown", "https", "", 403, ""},
		{
			"a client among the proxies", "10.0.0.1:1", "10.0.0.9, 10.0.0.2", "https", "", 202,
			"10.0.0.9:0",
		},
		{
			"with ports", "10.0.0.1:1", "203.0.113.5:1234, [::ffff:10.0.0.2]:80", "https", "", 202,
			"203.0.113.5:0",
		},
		{"RFC 7239 is not read", "127.0.0.1:1", "", "", "for=203.0.113.5", 403, ""},
		{"not a known proxy", "192.0.2.9:1", "203.0.113.5", "https", "", 403, ""},
		{"loopback that is not known", "[::1]:1", "203.0.113.5", "https", "", 403, ""},
	} {
		r := from(post(simple), c.remote)
		if strings.Contains(c.name, "in the clear") {
			r = plain(r)
		}
		for field, v := range map[string]string{
			"X-Forwarded-For": c.chain, "X-Forwarded-Proto": c.proto, "Forwarded": c.forwarded,
		} {
			if v != "" {
				r.Header.Set(field, v)
			}
		}
		a := w.do(r)
		if a.Status != c.status {
			t.Errorf("%s: %d %s", c.name, a.Status, a.Body)
		} else if a.Status == 202 {
			if m := w.one(); m.Origin.Remote != c.client {
				t.Errorf("%s: client is %s, want %s", c.name, m.Origin.Remote, c.client)
			}
		}
	}
}

// A proxy that forgets to tell whom it speaks for lends its address to nobody
// where it must tell.
func TestRequireForwarded(t *testing.T) {
	t.Parallel()
	for _, must := range []bool{false, true} {
		w := newWorld(t, func(w *world) {
			w.http.Proxies = []connector.Range{connector.MustParseRange("10.0.0.1/32")}
			w.http.RequireForwarded = must
		})
		forgotten := map[bool]int{false: 202, true: 403}[must]
		for _, c := range []struct {
			name, remote, chain string
			status              int
		}{
			{"the proxy, for a client", "10.0.0.1:1", "203.0.113.5", 202},
			{"the proxy, for itself", "10.0.0.1:1", "10.0.0.1", 202},
			{"the proxy, for nobody", "10.0.0.1:1", "", forgotten},
			{"a client", "203.0.113.5:1", "", 202},
			{"a client that pretends", "203.0.113.5:1", "203.0.113.6", 403},
		} {
			r := from(post(simple), c.remote)
			if c.chain != "" {
				r.Header.Set("X-Forwarded-For", c.chain)
				r.Header.Set("X-Forwarded-Proto", "https")
			}
			if a := w.do(r); a.Status != c.status {
				t.Errorf("%s, must %v: %d %s", c.name, must, a.Status, a.Body)
			}
		}
	}
}

// TestNoJSONLimit: the largest number there is does not overflow.
func TestNoJSONLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.http.MaxJSONBytes = math.MaxInt64
		w.users.Grants = []connector.Grant{
			{Principal: connector.User("app"), Rights: connector.BypassMessageSizeLimit},
		}
	})
	if a := w.do(chunked(post(simple))); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
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

// TestClientCertificate: the rights of a partner come with the certificate of
// the connection itself.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.users.RequireTLS = true })
	r := post(simple)
	r.TLS = &tls.ConnectionState{}
	if a := w.do(r); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if m := w.one(); strings.Contains(m.content, "using TLS") {
		t.Errorf("the trace field tells what is not known:\n%s", m.content)
	}
}

// TestUnread: who may not submit is refused before the body is read, and it is
// not asked for.
func TestUnread(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.users.Limits.MaxMessageBytes = 64 << 10 })
	for _, r := range []*http.Request{
		post(simple, "Authorization", ""),
		basic(post(simple), "app", "wrong"),
		plain(post(simple)),
		raw("from=bob@example.com&to=a@example.net", letter),
		raw("from=app@example.com&to=nobody@example.com", letter),
		raw("from=app@example.com&to=a@example.net", strings.Repeat("a", 64<<10+1)),
		post(strings.Repeat(" ", 64<<10+1)),
	} {
		r.Body = io.NopCloser(unread{t})
		if a := w.do(r); a.Status < 400 {
			t.Errorf("%s: %d", r.URL, a.Status)
		}
	}
}

type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, io.EOF
}

// TestParallel: requests of many clients at once, with keys and without, for
// the race detector.
func TestParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.users.Limits.MaxConnectionsPerSource = -1 })
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			key := ""
			if i%2 == 0 {
				key = strconv.Itoa(i % 10)
			}
			r := post(simple, "Idempotency-Key", key)
			if i%3 == 0 {
				r = raw("from=app@example.com&to=a@example.net", letter)
			}
			if a := w.do(r); a.Status != 202 && a.Status != 409 {
				t.Errorf("%d %s", a.Status, a.Body)
			}
		})
	}
	all.Wait()
	if n := httpapi.Buffered(w.handler); n != 0 {
		t.Errorf("%d octets still count as held", n)
	}
}
