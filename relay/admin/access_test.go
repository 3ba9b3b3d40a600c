package admin_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/admin"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func TestNew(t *testing.T) {
	r := newRelay(t, config(t))
	for _, test := range []struct {
		name   string
		cfg    admin.Config
		fields []string
	}{
		{"closed by default", admin.Config{Relay: r}, []string{"Verifier"}},
		{"nothing", admin.Config{}, []string{"Relay", "Verifier"}},
		{"both", admin.Config{Relay: r, Verifier: users(), Authorize: open}, []string{"Authorize"}},
		{
			"group of nobody", admin.Config{Relay: r, Authorize: open, Group: "operators"},
			[]string{"Group"},
		},
		{
			"all at once", admin.Config{Group: "operators", Proxies: []connector.Range{{}}},
			[]string{"Relay", "Verifier", "Group", "Proxies[0]"},
		},
		{"Verifier", admin.Config{Relay: r, Verifier: users(), Group: "operators"}, nil},
		{"Authorize", admin.Config{Relay: r, Authorize: open}, nil},
	} {
		_, err := admin.New(test.cfg)
		var fields []string
		if err != nil {
			for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
				f, ok := errors.AsType[*postern.FieldError](e)
				if !ok {
					t.Fatalf("%s: %v", test.name, e)
				}
				fields = append(fields, f.Field)
			}
		}
		if strings.Join(fields, " ") != strings.Join(test.fields, " ") {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestLogOn(t *testing.T) {
	var log journal
	h := newHandler(
		t,
		admin.Config{
			Relay: newRelay(t, config(t)), Verifier: users(), Group: "operators",
			Logger: log.logger(),
		},
	)
	for _, test := range []struct {
		name, user, password string
		code                 int
		log                  string // of the line; empty for none
	}{
		{"operator", "boss", "secret", 200, ""},
		{"nothing", "", "", 401, ""},
		{
			"wrong password", "boss", "wrong-hush", 401,
			`level=INFO msg="logon refused" remote=192.0.2.1 user=boss`,
		},
		{
			"not in the group", "clerk", "secret", 401,
			`level=INFO msg="logon refused" remote=192.0.2.1 user=clerk`,
		},
		{
			"nobody", "nobody", "wrong-hush", 401,
			`level=INFO msg="logon refused" remote=192.0.2.1 user=nobody`,
		},
		{"prepared", "b\u00adoss", "secret", 200, ""}, // a soft hyphen
		{"prepared in the log", "clerk\u00a0x", "secret", 401, `user="clerk x"`},
		{"no name", "a\nb", "wrong-hush", 401, `msg="logon refused" remote=192.0.2.1 user=""`},
		{"NUL", "boss\x00boss", "secret", 401, `msg="logon refused" remote=192.0.2.1 user=""`},
		{"too long", "boss", strings.Repeat("hush", 3000), 401, `msg="logon refused"`},
		{
			"throttled elsewhere", "throttled", "secret", 429,
			`level=INFO msg="logon throttled" remote=192.0.2.1 user=throttled`,
		},
		{
			"verifier down", "down", "hush", 503,
			`level=ERROR msg="logon not decided" remote=192.0.2.1 user=down err="dial ` +
				`10.9.8.7: secret detail"`,
		},
	} {
		for _, target := range []string{"/", "/status", "/nothing"} {
			r := request(http.MethodGet, target, "")
			if test.name != "nothing" {
				r.SetBasicAuth(test.user, test.password)
			}
			w := do(h, r)
			code := test.code
			if code == 200 && target == "/nothing" {
				code = 404
			}
			if w.Code != code {
				t.Errorf("%s, %s: %d %s", test.name, target, w.Code, w.Body)
			}
			challenge := w.Header().Get("WWW-Authenticate")
			if basic := strings.HasPrefix(challenge, "Basic realm="); basic != (code == 401) ||
				!basic && challenge != "" {
				t.Errorf("%s: WWW-Authenticate %q", test.name, challenge)
			}
			if retry := w.Header().Get("Retry-After"); code == 429 && retry != "2" {
				t.Errorf("%s: Retry-After %q", test.name, retry)
			}
			line := log.take()
			if !strings.Contains(line, test.log) ||
				(test.log != "") != (strings.Count(line, "\n") == 1) {
				t.Errorf("%s: log %q", test.name, line)
			}
			if strings.Contains(line, "hush") || strings.Contains(w.Body.String(), "detail") {
				t.Errorf("%s: log %q, body %q", test.name, line, w.Body)
			}
			if code != 200 && strings.Contains(w.Body.String(), "relay.example.com") {
				t.Errorf("%s: shown: %s", test.name, w.Body)
			}
		}
	}
	if w := do(
		h, request(http.MethodGet, "/", "", "Authorization", "Bearer secret"),
	); w.Code != 401 {
		t.Errorf("bearer token: %d", w.Code)
	}
}

// TestThrottle guesses until the handler's own Throttle has had enough.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := relay.New(relay.Config{Hostname: "relay.example.com", Spool: memspool.New(nil)})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		h := newHandler(t, admin.Config{Relay: r, Verifier: users()})
		try := func(password string) *httptest.ResponseRecorder {
			r := request(http.MethodGet, "/", "")
			r.SetBasicAuth("boss", password)
			return do(h, r)
		}
		var w *httptest.ResponseRecorder
		for i := range 20 {
			if w = try("guess " + strconv.Itoa(i)); w.Code != 401 {
				break
			}
		}
		wait, err := strconv.Atoi(w.Header().Get("Retry-After"))
		if w.Code != 429 || err != nil || wait < 1 {
			t.Fatalf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
		}
		if w := try("secret"); w.Code != 429 {
			t.Errorf("the right password: %d", w.Code)
		}
		<-time.After(time.Duration(wait) * time.Second)
		if w := try("secret"); w.Code != 200 {
			t.Errorf("the right password later: %d", w.Code)
		}
	})
}

func TestAuthorize(t *testing.T) {
	var log journal
	h := newHandler(t, admin.Config{
		Relay: newRelay(t, config(t)), Logger: log.logger(),
		Authorize: func(r *http.Request) bool {
			c, err := r.Cookie("session")
			return err == nil && c.Value == "good"
		},
	})
	if w := do(h, request(http.MethodGet, "/", "", "Cookie", "session=good")); w.Code != 200 ||
		log.take() != "" {
		t.Errorf("good: %d", w.Code)
	}
	for _, header := range [][]string{
		{}, {"Cookie", "session=bad"}, {"Authorization", "Basic Ym9zczpzZWNyZXQ="},
	} {
		w := do(h, request(http.MethodGet, "/", "", header...))
		if line := log.take(); w.Code != 403 || w.Body.String() != "Forbidden.\n" ||
			w.Header().Get("WWW-Authenticate") != "" ||
			!strings.Contains(line, `msg="request refused" remote=192.0.2.1`) ||
			strings.Count(line, "\n") != 1 {
			t.Errorf("%v: %d %q %q", header, w.Code, w.Body, line)
		}
	}
}

// A proxy on this host that says nothing of its client does not make a local
// one of it where it must say so.
func TestRequireForwarded(t *testing.T) {
	for _, must := range []bool{false, true} {
		r := newRelay(t, relay.Config{Hostname: "relay.example.com", Spool: memspool.New(nil)})
		h := newHandler(t, admin.Config{
			Relay:            r,
			Authorize:        func(*http.Request) bool { return true },
			Proxies:          []connector.Range{connector.MustParseRange("127.0.0.1/32")},
			RequireForwarded: must,
		})
		forgotten := map[bool]int{false: 200, true: 403}[must]
		forwarded := []string{"X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "https"}
		for _, test := range []struct {
			remote  string
			headers []string
			want    int
		}{
			{"127.0.0.1:1", forwarded, 200}, {"127.0.0.1:1", nil, forgotten},
			{"127.0.0.2:1", nil, 200},
		} {
			req := request(http.MethodGet, "/", "", test.headers...)
			req.RemoteAddr = test.remote
			if w := do(h, req); w.Code != test.want {
				t.Errorf("must %v, from %s with %v: %d", must, test.remote, test.headers, w.Code)
			}
		}
	}
	if _, err := admin.New(admin.Config{RequireForwarded: true}); err == nil ||
		!strings.Contains(err.Error(), "RequireForwarded: needs Proxies") {
		t.Error(err)
	}
}

// TestEncryption plays every way to come in, with both settings of
// RequireEncryption and both ways to log on.
func TestEncryption(t *testing.T) {
	forwarded := func(proto string) []string {
		return []string{"X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", proto}
	}
	const both, neither, app = "verifier authorize verifier+required authorize+required", "",
		"authorize"
	local := func(headers []string) []string {
		return append([]string{"X-Forwarded-For", "127.0.0.1"}, headers[2:]...)
	}
	for _, test := range []struct {
		name, remote string
		tls          bool
		headers      []string
		answered     string
	}{
		{"TLS", "192.0.2.7:1", true, nil, both},
		{"plain", "192.0.2.7:1", false, nil, app},
		{"plain, IPv6", "[2001:db8::7]:1", false, nil, app},
		{"loopback", "127.0.0.1:1", false, nil, both},
		{"loopback, IPv6", "[::1]:1", false, nil, both},
		{"loopback, mapped", "[::ffff:127.0.0.1]:1", false, nil, both},
		{"known proxy, https inside TLS", "10.0.0.1:1", true, forwarded("https"), both},
		{"known proxy, https in the clear", "10.0.0.1:1", false, forwarded("https"), app},
		{"known proxy, http", "10.0.0.1:1", false, forwarded("http"), app},
		{"known proxy for its own host", "10.0.0.1:1", false, local(forwarded("http")), app},
		{
			"known proxy for its own host, https", "10.0.0.1:1", false, local(forwarded("https")),
			app,
		},
		{"known proxy on this host, https", "127.0.0.2:1", false, forwarded("https"), both},
		{"known proxy on this host, http", "127.0.0.2:1", false, forwarded("http"), app},
		{"known proxy, http inside TLS", "10.0.0.1:1", true, forwarded("http"), app},
		{"known proxy that does not say", "10.0.0.1:1", true, forwarded("https")[:2], neither},
		{"unknown proxy, https", "10.9.9.9:1", false, forwarded("https"), neither},
		{"unknown proxy, http", "10.9.9.9:1", false, forwarded("http"), neither},
		{"unknown proxy inside TLS", "10.9.9.9:1", true, forwarded("https"), neither},
		{"unknown proxy on this host", "127.0.0.1:1", false, forwarded("http"), neither},
		{
			"unknown proxy on this host, Forwarded", "127.0.0.1:1", false,
			[]string{"Forwarded", "for=192.0.2.7"}, neither,
		},
		{"no address", "@", false, nil, neither},
	} {
		for _, mode := range strings.Fields(both) {
			require := strings.HasSuffix(mode, "+required")
			r := newRelay(
				t,
				relay.Config{
					Hostname: "relay.example.com", Spool: memspool.New(nil),
					RequireEncryption: require,
				},
			)
			asked := false
			cfg := admin.Config{
				Relay: r,
				Proxies: []connector.Range{
					connector.MustParseRange("10.0.0.1/32"),
					connector.MustParseRange("127.0.0.2/32"),
				},
				Logger: slog.New(slog.DiscardHandler),
			}
			if strings.HasPrefix(mode, "authorize") {
				cfg.Authorize = func(*http.Request) bool { asked = true; return true }
			} else {
				cfg.Verifier = auth.VerifierFunc(func(
					context.Context, auth.Proof,
				) (*auth.Identity, error) {
					asked = true
					return &auth.Identity{User: "boss"}, nil
				})
			}
			req := request(http.MethodGet, "/", "", test.headers...)
			req.SetBasicAuth("boss", "secret")
			req.RemoteAddr = test.remote
			if !test.tls {
				req.TLS = nil
			}
			w := do(newHandler(t, cfg), req)
			want := 403
			for _, m := range strings.Fields(test.answered) {
				if m == mode {
					want = 200
				}
			}
			if w.Code != want || asked != (want == 200) {
				t.Errorf("%s, %s: %d, asked: %t", test.name, mode, w.Code, asked)
			}
			if w.Header().Get("WWW-Authenticate") != "" {
				t.Errorf("%s, %s: asks for a password", test.name, mode)
			}
		}
	}
}
