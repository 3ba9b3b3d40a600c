package httpapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
)

// tokens knows app by tok-good, and what goes wrong by other names.
func tokens() auth.Verifier {
	return auth.VerifierFunc(func(_ context.Context, c auth.Proof) (*auth.Identity, error) {
		id := &auth.Identity{User: "app", Senders: []string{"app@example.com"}}
		switch c.Token {
		case "tok-good", "tok/good+1==":
		case "tok-mute":
			id.User = "mute"
		case "tok-of-a", "tok-of-b":
			id.User, id.Credential = "", c.Token
		case "tok-of-nobody":
			id.User = ""
		case "tok-expired":
			return nil, fmt.Errorf("token of app has expired: %w", auth.ErrBadCredentials)
		case "tok-down":
			return nil, errDown
		case "tok-throttled":
			return nil, &auth.ThrottledError{RetryAfter: 1500 * time.Millisecond}
		default:
			return nil, auth.ErrBadCredentials
		}
		return id, nil
	})
}

// noCaps is a quota of any number.
type noCaps struct{}

func (noCaps) Spend(context.Context, *auth.Identity) error { return nil }

// withTokens takes passwords and tokens.
func withTokens(w *world) {
	w.cfg.Quota = noCaps{}
	w.cfg.Verifier, w.cfg.Auth = nil, &auth.Server{
		Passwords: users(), Tokens: tokens(), TokenScope: "mail.send",
	}
	w.users.Grants = []connector.Grant{
		{Principal: connector.User("mute"), Rights: connector.Submit, Deny: true},
	}
}

func tokensOnly(w *world) {
	withTokens(w)
	w.cfg.Auth.Passwords = nil
}

func bearer(r *http.Request, token string) *http.Request {
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

const (
	askBasic  = `Basic realm="submission", charset="UTF-8"`
	askBearer = `Bearer realm="submission", scope="mail.send"`
	badToken  = askBearer + `, error="invalid_token"`
)

func TestCredentials(t *testing.T) {
	t.Parallel()
	inClear := func(w *world) {
		withTokens(w)
		w.users.AuthMechanisms &^= connector.BasicAuthRequireTLS
	}
	authorization := func(fields ...string) *http.Request {
		r := post(simple)
		r.Header["Authorization"] = fields
		return r
	}
	const good = "Basic YXBwOnNlY3JldA==" // app:secret
	for _, c := range []struct {
		name       string
		change     func(*world)
		request    *http.Request
		status     int
		code       int
		enhanced   string
		challenges string
	}{
		{"password", withTokens, post(simple), 202, 0, "", ""},
		{"token", withTokens, bearer(post(simple), "tok-good"), 202, 0, "", ""},
		{"token alone", tokensOnly, bearer(post(simple), "tok/good+1=="), 202, 0, "", ""},
		{
			"token for a message as it is", withTokens,
			bearer(raw("from=app@example.com&to=a@example.net", letter), "tok-good"), 202, 0, "",
			"",
		},
		{"case of the scheme", withTokens, authorization("bEARER   tok-good"), 202, 0, "", ""},
		{
			"case of the other scheme", withTokens, authorization("BASIC YXBwOnNlY3JldA=="), 202, 0,
			"", "",
		},

		{
			"nothing", withTokens, post(simple, "Authorization", ""), 401, 530, "5.7.1",
			askBasic + "; " + askBearer,
		},
		{
			"nothing, without tokens", nil, post(simple, "Authorization", ""), 401, 530, "5.7.1",
			askBasic,
		},
		{
			"nothing, without passwords", tokensOnly, post(simple, "Authorization", ""), 401, 530,
			"5.7.1", askBearer,
		},
		{"nothing, without a scope", func(w *world) {
			tokensOnly(w)
			w.cfg.Auth.TokenScope = ""
		}, post(simple, "Authorization", ""), 401, 530, "5.7.1", `Bearer realm="submission"`},
		{"nothing, with a scope that is none", func(w *world) {
			tokensOnly(w)
			w.cfg.Auth.TokenScope = "a\", error=\"x\r\n"
		}, post(simple, "Authorization", ""), 401, 530, "5.7.1", `Bearer realm="submission"`},
		{
			"nothing, outside TLS", withTokens, plain(post(simple, "Authorization", "")), 403, 530,
			"5.7.1", "",
		},
		{"nothing, where nobody logs on", func(w *world) {
			w.users.AuthMechanisms, w.cfg.RequireEncryption = connector.TLS, false
		},
			post(simple, "Authorization", ""), 403, 530, "5.7.1", ""},
		{
			"bad password", withTokens, basic(post(simple), "app", "wrong"), 401, 535, "5.7.8",
			askBasic + "; " + askBearer,
		},
		{
			"no base64", withTokens, authorization("Basic app:secret"), 401, 535, "5.7.8",
			askBasic + "; " + askBearer,
		},

		{
			"bad token", withTokens, bearer(post(simple), "tok-bad"), 401, 535, "5.7.8",
			askBasic + "; " + badToken,
		},
		{
			"expired token", tokensOnly, bearer(post(simple), "tok-expired"), 401, 535, "5.7.8",
			badToken,
		},
		{
			"token of a user who may not submit", tokensOnly, bearer(post(simple), "tok-mute"), 401,
			535, "5.7.8", badToken,
		},
		{"token refused by policy", func(w *world) {
			tokensOnly(w)
			w.cfg.Policy.Auth = func(context.Context, *relay.Session) error {
				return relay.Reject(535, "5.7.9", "Suspended")
			}
		}, bearer(post(simple), "tok-good"), 401, 535, "5.7.9", badToken},
		{"no token", tokensOnly, authorization("Bearer"), 401, 535, "5.7.8", badToken},
		{"spaces for a token", tokensOnly, authorization("Bearer   "), 401, 535, "5.7.8", badToken},
		{
			"malformed token", tokensOnly, bearer(post(simple), "tok good"), 401, 535, "5.7.8",
			badToken,
		},
		{
			"token that says more", tokensOnly, bearer(post(simple), "x\x01auth=Bearer tok-good"),
			401, 535, "5.7.8", badToken,
		},
		{
			"two in one field", tokensOnly, bearer(post(simple), "tok-bad, Bearer tok-good"), 401,
			535, "5.7.8", badToken,
		},
		{
			"long token", tokensOnly, bearer(post(simple), strings.Repeat("a", 100_000)), 401, 535,
			"5.7.8", badToken,
		},
		{
			"two tokens", tokensOnly, authorization("Bearer tok-good", "Bearer tok-good"), 401, 535,
			"5.7.8", askBearer,
		},
		{
			"password and token", withTokens, authorization(good, "Bearer tok-good"), 401, 535,
			"5.7.8", askBasic + "; " + askBearer,
		},
		{
			"nothing and a password", withTokens, authorization("", good), 401, 535, "5.7.8",
			askBasic + "; " + askBearer,
		},
		{
			"empty field", withTokens, authorization(""), 401, 535, "5.7.8",
			askBasic + "; " + askBearer,
		},
		{
			"token in the query", withTokens,
			bearer(
				raw("from=app@example.com&to=a@example.net&access_token=tok-good", letter),
				"tok-good",
			),
			400, 501, "5.5.4", "",
		},

		{"verifier down", withTokens, bearer(post(simple), "tok-down"), 503, 454, "4.7.0", ""},
		{"throttled", withTokens, bearer(post(simple), "tok-throttled"), 429, 454, "4.7.0", ""},
		{
			"tokens are not taken", nil, bearer(post(simple), "tok-good"), 401, 504, "5.7.4",
			askBasic,
		},
		{"passwords are not taken", tokensOnly, post(simple), 401, 504, "5.7.4", askBearer},
		{
			"another scheme", withTokens, authorization("Digest username=app"), 401, 504, "5.7.4",
			askBasic + "; " + askBearer,
		},

		{
			"token outside TLS", withTokens, plain(bearer(post(simple), "tok-good")), 403, 538,
			"5.7.11", "",
		},
		{
			"token outside TLS, where passwords go", inClear,
			plain(bearer(post(simple), "tok-good")), 401, 504, "5.7.4", askBasic,
		},
		{"password there", inClear, plain(post(simple)), 202, 0, "", ""},
		{"token from this host, outside TLS", func(w *world) {
			inClear(w)
			w.cfg.RequireEncryption, w.cfg.Auth.Passwords = true, nil
		}, plain(from(bearer(post(simple), "tok-good"), "127.0.0.1:5")), 403, 504, "5.7.4", ""},
		{"RequireEncryption", func(w *world) {
			inClear(w)
			w.cfg.RequireEncryption = true
		}, plain(bearer(post(simple), "tok-good")), 403, 530, "5.7.0", ""},
		{"TLS to a proxy", func(w *world) {
			tokensOnly(w)
			w.http.Proxies = []connector.Range{connector.MustParseRange("192.0.2.1/32")}
		}, plain(
			bearer(
				post(simple, "X-Forwarded-For", "203.0.113.5", "X-Forwarded-Proto", "https"),
				"tok-good",
			),
		), 202, 0, "", ""},
		{"none to a proxy", func(w *world) {
			tokensOnly(w)
			w.http.Proxies = []connector.Range{connector.MustParseRange("192.0.2.1/32")}
		}, bearer(
			post(simple, "X-Forwarded-For", "203.0.113.5", "X-Forwarded-Proto", "http"), "tok-good",
		), 403, 538, "5.7.11", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.change)
			a := w.do(c.request)
			if a.Status != c.status || a.SMTP.Code != c.code || a.SMTP.Enhanced != c.enhanced {
				t.Fatalf("%d %q, want %d %d %s", a.Status, a.Body, c.status, c.code, c.enhanced)
			}
			if got := strings.Join(a.Header.Values("WWW-Authenticate"), "; "); got != c.challenges {
				t.Errorf("challenges %s, want %s", got, c.challenges)
			}
			if (len(w.queued()) == 1) != (c.status == 202) || len(w.rejected()) > 1 ||
				(c.code != 0) != (len(w.rejected()) == 1) {
				t.Errorf("events %+v", w.rejected())
			}
			for _, secret := range []string{"tok-", "tok/", "tok good", "secret"} {
				if s := w.log.String() + a.Body + fmt.Sprint(w.events); strings.Contains(
					strings.ReplaceAll(s, errDown.Error(), ""), secret,
				) {
					t.Errorf("%q in %s", secret, s)
				}
			}
		})
	}
}

// session begins a session inside TLS with the submission connector.
func (w *world) session(t *testing.T) func(line string) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(
		t.Context(), "tcp", w.http.Relay.Addrs("users")[0].String(),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	say := func(line string) (reply string) {
		t.Helper()
		if line != "" {
			fmt.Fprint(conn, line, "\r\n")
		}
		for {
			s, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if s[3] == ' ' {
				return strings.TrimSpace(s)
			}
		}
	}
	say("")
	say("EHLO client.example.net")
	say("STARTTLS")
	conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	in.Reset(conn)
	say("EHLO client.example.net")
	return say
}

// TestTokensOverSMTP: a token comes to the same by OAUTHBEARER and by Bearer,
// and failures of both add up.
func TestTokensOverSMTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		tokensOnly(w)
		w.cfg.Auth.Throttle = auth.NewThrottle(
			&auth.ThrottleOptions{SourceFree: 6, Delay: time.Hour},
		)
		w.cfg.Policy.Auth = func(_ context.Context, s *relay.Session) error {
			if s.Identity.User == "" {
				return relay.Reject(550, "5.7.1", "Not you")
			}
			return nil
		}
	})
	if err := w.http.Relay.Listen(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- w.http.Relay.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	overSMTP := func(token string) string {
		t.Helper()
		say := w.session(t)
		reply := say(
			"AUTH OAUTHBEARER " + base64.StdEncoding.EncodeToString(
				[]byte("n,,\x01auth=Bearer "+token+"\x01\x01"),
			),
		)
		if strings.HasPrefix(reply, "334 ") {
			reply = say("AQ==")
		}
		return strings.Join(strings.Fields(reply)[:2], " ")
	}
	overHTTP := func(token string) (answer, string) {
		a := w.do(from(bearer(post(simple), token), "127.0.0.1:9"))
		if a.Status == 202 {
			return a, "235 2.7.0"
		}
		return a, fmt.Sprint(a.SMTP.Code, " ", a.SMTP.Enhanced)
	}
	for _, token := range []string{
		"tok-good", "tok-of-nobody", "tok-down", "tok-throttled", "tok-expired", "tok-mute",
		"tok=bad",
	} {
		smtp := overSMTP(token)
		if _, http := overHTTP(token); http != smtp {
			t.Errorf("%s: %s by SMTP, %s over HTTP", token, smtp, http)
		}
	}
	for range 4 {
		overSMTP("tok-wrong")
	}
	if a, http := overHTTP("tok-good"); a.Status != 429 || http != "454 4.7.0" ||
		a.Header.Get("Retry-After") == "" {
		t.Errorf("after too many failures: %d %s", a.Status, http)
	}
}
