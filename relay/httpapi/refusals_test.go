package httpapi_test

import (
	"context"
	"net/http"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
)

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
				`{"from":"bob@example.com","envelope_from":"app@example.com",` +
					`"to":["a@example.net"]}`,
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
