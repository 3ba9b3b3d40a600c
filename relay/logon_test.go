package relay_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// everyMechanism knows app@example.test and its secret.
func everyMechanism(t testing.TB, secret string) *auth.Server {
	t.Helper()
	keys, err := auth.NewSCRAMKeys(secret)
	if err != nil {
		t.Fatal(err)
	}
	id := &auth.Identity{User: "app@example.test"}
	check := func(ok bool) (*auth.Identity, error) {
		if !ok {
			return nil, auth.ErrBadCredentials
		}
		return id, nil
	}
	return &auth.Server{
		Passwords: auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			if c.Username == "down" {
				return nil, fmt.Errorf("users: cannot ask for %v", c)
			}
			return check(c.Username == id.User && c.Password == secret)
		}),
		SCRAM: auth.SCRAMStoreFunc(func(
			_ context.Context, c auth.Proof,
		) (string, *auth.Identity, error) {
			id, err := check(c.Username == id.User)
			return keys, id, err
		}),
		Tokens: auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			return check(c.Token == secret)
		}),
		Certificates: auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			return check(c.TLS.VerifiedChains[0][0].Subject.CommonName == id.User)
		}),
	}
}

// personal is a client's certificate, and the pool that vouches for it.
func personal(t testing.TB, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// inside begins a session inside TLS and shows a certificate.
func (w *world) inside(t *testing.T, name string, cert tls.Certificate) *talk {
	t.Helper()
	c := w.dial(t, name)
	c.Play("C: STARTTLS\nS: 220")
	c.Handshake(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}})
	c.Play("C: EHLO client.example.test\nS: 250")
	return c
}

// What TLS has shown stands in the trace field, the events and the log.
func TestLogonByCertificate(t *testing.T) {
	cert, pool := personal(t, "app@example.test")
	log := new(logs)
	w := start(t, func(cfg *relay.Config) {
		cfg.TLS, cfg.Logger = certificate(t), log.logger()
		cfg.TLS.ClientCAs = pool
		cfg.Verifier, cfg.Auth = nil, everyMechanism(t, "secret")
		cfg.Connectors[2].AuthMechanisms |= connector.TLS
	})
	c := w.inside(t, "users", cert)
	c.Play("C: MAIL FROM:<app@example.test>\nS: 530 5.7.1\nC: AUTH EXTERNAL =\nS: 235 2.7.0")
	if got := c.transact(
		text, "app@example.test", "x@elsewhere.test",
	); !strings.HasPrefix(got, "250 ") {
		t.Fatal(got)
	}
	content := strings.Join(strings.Fields(w.out.wait(t, 1)[0].content), " ")
	if !strings.Contains(content, "(using TLSv1.3 with cipher TLS_") ||
		!strings.Contains(content, "(verified certificate of app?example.test)") {
		t.Errorf("content %s", content)
	}
	for _, e := range append(w.events.all(event.Accepted), w.events.all(event.Rejected)...) {
		if !strings.HasPrefix(e.TLS, "TLSv1.3 TLS_") || e.Certificate != "app@example.test" {
			t.Errorf("event %+v", e)
		}
	}
	if n := len(w.events.all(event.Rejected)); n != 1 ||
		!strings.Contains(log.String(), `tls="TLSv1.3 TLS_`) {
		t.Errorf("%d refusals, log %s", n, log)
	}
}

// uncapped lets everybody send.
type uncapped struct{}

func (uncapped) Spend(context.Context, *auth.Identity) error { return nil }

// Log and events tell who has logged on, who was refused after that, and whose
// message was accepted.
func TestWho(t *testing.T) {
	cert, pool := personal(t, "device.example.test")
	log := new(logs)
	w := start(t, func(cfg *relay.Config) {
		cfg.TLS, cfg.Logger = certificate(t), log.logger()
		cfg.TLS.ClientCAs = pool
		cfg.Verifier, cfg.Auth, cfg.Quota = nil, everyMechanism(t, "secret"), uncapped{}
		cfg.Auth.Passwords = auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			return &auth.Identity{
				User: "printers", Credential: "printer-7",
				Senders: []string{"printer@example.test", "app@example.test"},
			}, nil
		})
		cfg.Connectors[2].AuthMechanisms |= connector.TLS
	})
	line := func(msg string, from int) string {
		for l := range strings.Lines(log.String()[from:]) {
			if strings.Contains(l, "msg="+msg) {
				return l
			}
		}
		return ""
	}
	check := func(msg string, from int, want ...string) {
		t.Helper()
		l := line(msg, from)
		for _, s := range want {
			if !strings.Contains(l, " "+s) {
				t.Errorf("no %s in %q", s, l)
			}
		}
	}
	c := w.inside(t, "users", cert)
	c.Play("C: AUTH PLAIN AHByaW50ZXItNwBzZWNyZXQ=\nS: 235 ")
	c.Play("C: MAIL FROM:<boss@example.test>\nS: 550 5.7.60")
	reply := c.transact(text, "printer@example.test", "x@elsewhere.test", "y@elsewhere.test")
	id := reply[strings.LastIndexByte(reply, ' ')+1:]
	who := []string{
		"session=", "connector=users", "remote=127.0.0.1", "user=printers", "credential=printer-7",
		`tls="TLSv1.3 TLS_`, "certificate=device.example.test",
	}
	check(`"logged on"`, 0, append(who, "level=INFO", "mechanism=PLAIN")...)
	check("refused", 0, append(who, "stage=mail", "from=boss@example.test")...)
	check(
		"accepted", 0,
		append(
			who, "level=INFO", "queue_id="+id, "from=printer@example.test", "recipients=2", "size=",
		)...,
	)
	for _, e := range append(w.events.all(event.Accepted), w.events.all(event.Rejected)...) {
		if e.User != "printers" || e.Credential != "printer-7" {
			t.Errorf("%s by %q with %q", e.Kind, e.User, e.Credential)
		}
	}
	if a, r := len(w.events.all(event.Accepted)), len(w.events.all(event.Rejected)); a != 1 ||
		r != 1 {
		t.Errorf("%d accepted, %d rejected", a, r)
	}

	// Over HTTP, and from the application itself.
	begin := len(log.String())
	peer := relay.Peer{
		Remote: netip.MustParseAddrPort("127.0.0.1:1"), TLS: new(tls.ConnectionState),
		Protocol: "HTTP",
	}
	client, err := w.relay.OpenSession(t.Context(), "users", peer)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Authenticate(
		t.Context(), auth.Proof{Username: "printer-7", Password: "secret"},
	); err != nil {
		t.Fatal(err)
	}
	receipt, err := client.Submit(
		t.Context(),
		&relay.Message{
			From: "printer@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(text),
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	check(
		`"logged on"`, begin, "connector=users", "user=printers", "credential=printer-7",
		"mechanism=PLAIN",
	)
	check(
		"accepted", begin, "connector=users", "user=printers", "credential=printer-7",
		"queue_id="+receipt.QueueID,
	)
	begin = len(log.String())
	id = submit(t, w.relay, "app@example.test", "x@elsewhere.test")
	check("accepted", begin, "queue_id="+id)
	if last := log.String()[begin:]; strings.Contains(last, `=""`) {
		t.Errorf("empty attributes in %q", last)
	}
}

// Neither log nor events nor replies hold a secret, or what base64 makes of it.
func TestSecretsStayOutOfLogs(t *testing.T) {
	const secret, wrong = "correct horse battery staple", "incorrect donkey battery"
	log := new(logs)
	w := start(t, func(cfg *relay.Config) {
		cfg.TLS, cfg.Logger = certificate(t), log.logger()
		cfg.Verifier, cfg.Auth = nil, everyMechanism(t, strings.ReplaceAll(secret, " ", "-"))
		cfg.Auth.Certificates = nil
		cfg.Auth.Throttle = auth.NewThrottle(
			&auth.ThrottleOptions{Free: 30, SourceFree: 30, Delay: time.Minute},
		)
		cfg.Connectors[2].AuthMechanisms |= connector.TLS
		cfg.Connectors[2].Limits.MaxLogonFailures = -1
		cfg.Connectors[2].Limits.MaxProtocolErrors = -1
	})
	var replies strings.Builder
	b64 := base64.StdEncoding.EncodeToString
	session := func() *talk {
		c := w.dial(t, "users")
		c.Play(startTLS)
		return c
	}
	c := session()
	say := func(line string) string {
		c.Say(line)
		got := c.reply()
		replies.WriteString(got + "\n")
		if strings.HasPrefix(got, "235 ") || strings.HasPrefix(got, "421 ") {
			c.Say("QUIT")
			c = session()
		}
		return got
	}
	for _, s := range []string{secret, wrong} {
		s = strings.ReplaceAll(s, " ", "-")
		for _, user := range []string{"app@example.test", "mallory", "down", "\u202e"} {
			say("AUTH PLAIN " + b64([]byte("\x00"+user+"\x00"+s)))
			say("AUTH PLAIN " + b64([]byte(user+"\x00"+s)))
			if strings.HasPrefix(say("AUTH LOGIN"), "334 ") &&
				strings.HasPrefix(say(b64([]byte(user))), "334 ") {
				say(b64([]byte(s)))
			}
			for _, line := range []string{
				"AUTH OAUTHBEARER " + b64([]byte("n,a="+user+",\x01auth=Bearer "+s+"\x01\x01")),
				"AUTH XOAUTH2 " + b64([]byte("user="+user+"\x01auth=Bearer "+s+"\x01\x01")),
			} {
				if strings.HasPrefix(say(line), "334 ") {
					say("AQ==")
				}
			}
			if client, err := scram.SHA256.NewClient(user, s, ""); err == nil {
				talk := client.NewConversation()
				first, _ := talk.Step("")
				if got := say(
					"AUTH SCRAM-SHA-256 " + b64([]byte(first)),
				); strings.HasPrefix(got, "334 ") {
					challenge, _ := base64.StdEncoding.DecodeString(got[4:])
					final, err := talk.Step(string(challenge))
					if err != nil {
						t.Fatal(err)
					}
					if got := say(b64([]byte(final))); strings.HasPrefix(got, "334 ") {
						say("")
					}
				}
			}
			// What a client does wrong shows the secret as well.
			say("AUTH PLAIN " + b64([]byte("\x00"+user+"\x00"+s)) + "!")
			say("AUTH CRAM-MD5 " + b64([]byte(s)))
			if strings.HasPrefix(say("AUTH PLAIN"), "334 ") {
				say(s)
			}
			say(s)
			say(b64([]byte(s)))
			say("MAIL FROM:<app@example.test> AUTH=" + s)
			say("RSET")
		}
	}
	for i := range 31 {
		say(
			"AUTH PLAIN " + b64(
				fmt.Appendf(nil, "\x00mallory\x00%s%d", strings.ReplaceAll(wrong, " ", "-"), i),
			),
		)
	}
	if !strings.Contains(replies.String(), "454 4.7.0 Too many failed logons") ||
		!strings.Contains(replies.String(), "235 ") {
		t.Errorf("replies %s", replies.String())
	}
	c = session()
	c.Play(
		"C: AUTH PLAIN " + b64(
			[]byte("\x00app@example.test\x00"+strings.ReplaceAll(secret, " ", "-")),
		) + "\nS: 235 ",
	)
	if got := c.transact(
		text, "app@example.test", "x@elsewhere.test",
	); !strings.HasPrefix(got, "250 ") {
		t.Error(got)
	}
	all := map[string]string{
		"log": log.String(), "replies": replies.String(),
		"events": fmt.Sprintf(
			"%+v", append(w.events.all(event.Rejected), w.events.all(event.Accepted)...),
		),
	}
	if !strings.Contains(all["log"], "msg=refused") ||
		!strings.Contains(all["log"], `msg="logged on"`) ||
		!strings.Contains(all["log"], "msg=accepted") ||
		!strings.Contains(all["events"], "mallory") {
		t.Fatal("nothing was told")
	}
	for _, s := range []string{secret, wrong} {
		s = strings.ReplaceAll(s, " ", "-")
		forms := []string{s, s[:12]}
		for shift := range 3 { // wherever the secret stands in what was encoded
			encoded := b64(append(bytes.Repeat([]byte{0}, shift), s...))
			forms = append(forms, encoded[4:len(encoded)-4])
		}
		for where, text := range all {
			for _, form := range forms {
				if i := strings.Index(text, form); i >= 0 {
					around := text[max(i-200, 0):min(i+60, len(text))]
					t.Errorf("%s: %q in …%s", where, form, around)
				}
			}
		}
	}
}

// A connector on which passwords can be read on the way is warned of, when it
// is served and not before.
func TestWarnsOfPasswordsInTheClear(t *testing.T) {
	for _, tt := range []struct {
		name    string
		binding string
		change  func(*relay.Config, *connector.Connector)
		warned  bool
	}{
		{"in the clear", "192.0.2.1:587", func(*relay.Config, *connector.Connector) {}, true},
		{"loopback", "127.0.0.1:587", func(*relay.Config, *connector.Connector) {}, false},
		{"disabled", "192.0.2.1:587", func(_ *relay.Config, c *connector.Connector) {
			c.Disabled = true
		}, false},
		{"BasicAuthRequireTLS", "192.0.2.1:587", func(_ *relay.Config, c *connector.Connector) {
			c.AuthMechanisms |= connector.TLS | connector.BasicAuthRequireTLS
		}, false},
		{"RequireTLS", "192.0.2.1:587", func(_ *relay.Config, c *connector.Connector) {
			c.RequireTLS, c.AuthMechanisms = true, connector.TLS|connector.BasicAuth
		}, false},
		{"ImplicitTLS", "192.0.2.1:587", func(_ *relay.Config, c *connector.Connector) {
			c.ImplicitTLS, c.AuthMechanisms = true, connector.TLS|connector.BasicAuth
		}, false},
		{"no AUTH", "192.0.2.1:587", func(_ *relay.Config, c *connector.Connector) {
			c.AuthMechanisms = connector.TLS
		}, false},
		{"no passwords", "192.0.2.1:587", func(cfg *relay.Config, _ *connector.Connector) {
			cfg.Verifier, cfg.Auth = nil, &auth.Server{SCRAM: everyMechanism(t, "secret").SCRAM}
		}, false},
	} {
		log := new(logs)
		cfg, _ := config()
		cfg.TLS, cfg.Logger = certificate(t), log.logger()
		cfg.Connectors = cfg.Connectors[2:]
		users := cfg.Connectors[0]
		users.AuthMechanisms, users.Bindings = connector.BasicAuth, []netip.AddrPort{
			netip.MustParseAddrPort(tt.binding),
		}
		tt.change(&cfg, users)
		count := func() int {
			return strings.Count(log.String(), "level=WARN msg=\"users may log on without TLS")
		}
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		if n := count(); n != 0 {
			t.Errorf("%s: %d warnings from New", tt.name, n)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if err := r.Serve(l); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if n := count(); n == 1 != tt.warned || n > 1 ||
			tt.warned && !strings.Contains(log.String(), "connector=users") {
			t.Errorf("%s: %d warnings in %s", tt.name, n, log)
		}
		if err := r.Reload(cfg); err != nil || count() == 2 != tt.warned {
			t.Errorf("%s: %v, %d warnings after a reload", tt.name, err, count())
		}
		_ = r.Close()
	}
}

// Hosts that may relay and have the limits of strangers are warned of: the
// application that sends much is the one they stop.
func TestWarnsOfStrangersLimits(t *testing.T) {
	ranges := connector.MustParseRange("10.0.5.20-10.0.5.21")
	handMade := func() *connector.Connector {
		c := connector.New("apps", connector.Custom)
		c.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:25")}
		c.RemoteIPRanges = []connector.Range{ranges}
		c.PermissionGroups = connector.AnonymousUsers
		c.Grants = []connector.Grant{{Principal: connector.Anonymous,
			Rights: connector.AcceptAnyRecipient}}
		return c
	}
	for _, tt := range []struct {
		name   string
		change func(*connector.Connector)
		warned bool
	}{
		{"by hand", func(*connector.Connector) {}, true},
		{"as in Exchange", func(c *connector.Connector) {
			c.Limits.MaxConnectionsPerSource, c.Limits.MaxConnectionsPercentPerSource = 20, 2
		}, true},
		{"half of it", func(c *connector.Connector) {
			c.Limits.MaxConnectionsPerSource = -1
		}, true},
		{"trusted network", func(c *connector.Connector) {
			c.AuthMechanisms = connector.ExternalAuthoritative
			c.PermissionGroups = connector.ExchangeServers
			c.Grants = nil
		}, true},
		{"lifted", func(c *connector.Connector) {
			c.Limits.MaxConnectionsPerSource, c.Limits.MaxConnectionsPercentPerSource = -1, -1
		}, false},
		{"chosen", func(c *connector.Connector) {
			c.Limits.MaxConnectionsPerSource, c.Limits.MaxConnectionsPercentPerSource = 5, 50
		}, false},
		{"recipe", func(c *connector.Connector) { *c = *connector.AnonymousRelay("apps", ranges) },
			false},
		{"no relaying", func(c *connector.Connector) { c.Grants = nil }, false},
		{"open relay", func(c *connector.Connector) { c.OpenRelay = true }, false},
		{"disabled", func(c *connector.Connector) { c.Disabled = true }, false},
	} {
		log := new(logs)
		cfg, _ := config()
		apps := handMade()
		tt.change(apps)
		cfg.Connectors, cfg.Logger = []*connector.Connector{apps}, log.logger()
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		_ = r.Serve(l)
		_ = r.Shutdown(ctx)
		hint := "level=WARN msg=\"hosts that may relay without logging on"
		if got := strings.Contains(log.String(), hint); got != tt.warned {
			t.Errorf("%s: warned %v\n%s", tt.name, got, log)
		}
	}
}

func TestAuthFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*relay.Config)
		want   string
	}{
		{"both", func(cfg *relay.Config) {
			cfg.Auth = everyMechanism(t, "secret")
		}, "Verifier: Auth is set too"},
		{"neither", func(cfg *relay.Config) { cfg.Verifier = nil }, "Verifier: required, or Auth"},
		{"nothing in it", func(cfg *relay.Config) {
			cfg.Verifier, cfg.Auth = nil, new(auth.Server)
		}, "Auth: it has no mechanism"},
		{"nobody vouches", func(cfg *relay.Config) {
			cfg.Verifier, cfg.Auth = nil, everyMechanism(t, "secret")
		}, "TLS.ClientCAs: required"},
		{"tokens alone", func(cfg *relay.Config) {
			cfg.Verifier, cfg.Auth = nil, &auth.Server{Tokens: everyMechanism(t, "secret").Tokens}
		}, ""},
	} {
		cfg, _ := config()
		tt.change(&cfg)
		_, err := relay.New(cfg)
		if fault := fmt.Sprint(err); tt.want == "" && err != nil ||
			tt.want != "" && !strings.Contains(fault, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Over HTTP the same Throttle counts, and there is no logging on where there
// are no passwords.
func TestAuthenticateThrottled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg, w := config()
		cfg.Verifier, cfg.Auth = nil, everyMechanism(t, "secret")
		cfg.Auth.Certificates = nil
		cfg.Auth.Throttle = auth.NewThrottle(&auth.ThrottleOptions{Free: 2, Delay: time.Hour})
		cfg.Connectors = cfg.Connectors[2:]
		cfg.Connectors[0].Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.3:587")}
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		logOn := func(password string) error {
			t.Helper()
			c, err := r.OpenSession(
				t.Context(), "users",
				relay.Peer{Remote: netip.MustParseAddrPort("127.0.0.1:1"), Protocol: "HTTP"},
			)
			if err != nil {
				t.Fatal(err)
			}
			return c.Authenticate(
				t.Context(), auth.Proof{Username: "app@example.test", Password: password},
			)
		}
		code := func(err error) int {
			if e, ok := errors.AsType[*relay.ReplyError](err); ok {
				return e.Code
			}
			return 0
		}
		for i := range 3 {
			if err := logOn(fmt.Sprint("wrong", i)); code(err) != 535 {
				t.Errorf("attempt %d: %v", i, err)
			}
		}
		if err := logOn("secret"); code(err) != 454 ||
			!strings.Contains(err.Error(), "Too many failed logons") {
			t.Errorf("then %v", err)
		}
		for _, e := range w.events.all(event.Rejected) {
			if e.User != "app@example.test" || e.Stage != "auth" {
				t.Errorf("event %+v", e)
			}
		}
		cfg.Auth = &auth.Server{SCRAM: cfg.Auth.SCRAM}
		if err := r.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		if err := logOn("secret"); code(err) != 504 {
			t.Errorf("without passwords: %v", err)
		}
	})
}

// Without anybody to verify credentials a session is told that there is no
// AUTH, and so says Explain.
func TestExplainWithoutAuth(t *testing.T) {
	for _, verifier := range []bool{true, false} {
		w := start(t, func(cfg *relay.Config) {
			cfg.TLS = certificate(t)
			users := cfg.Connectors[2]
			users.AuthMechanisms = connector.TLS | connector.ExchangeServer
			users.PermissionGroups = connector.ExchangeServers
			if !verifier {
				cfg.Verifier = nil
			}
		})
		c := w.dial(t, "users")
		c.Play(startTLS)
		c.Say("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00mallory\x00wrong")))
		local := w.relay.Addrs("users")[0]
		e, err := w.relay.Explain(
			t.Context(),
			relay.ExplainQuery{
				Local: local, Remote: netip.MustParseAddrPort("127.0.0.1:1"), TLS: true,
				User: "mallory",
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.reply(); !strings.HasPrefix(
			got, fmt.Sprint(e.Replies[0].Code, " ", e.Replies[0].Enhanced),
		) || verifier != strings.HasPrefix(got, "535 ") {
			t.Errorf("verifier %v: %q, explained as %+v", verifier, got, e.Replies[0])
		}
	}
}

// A Verifier alone is guarded against those who guess, and a reload does not
// give them another try.
func TestVerifierIsThrottled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		looks := 0
		cfg := local(newCapture(), newCapture())
		cfg.Hostname, cfg.Spool = "relay.example.test", memspool.New(nil)
		users := bind(connector.Submission("users"), "127.0.0.1")
		users.AuthMechanisms = connector.BasicAuth
		cfg.Connectors = []*connector.Connector{users}
		cfg.Verifier = auth.VerifierFunc(func(
			context.Context, auth.Proof,
		) (*auth.Identity, error) {
			looks++
			return nil, auth.ErrBadCredentials
		})
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for round := range 2 {
			for i := range 50 {
				c, err := r.OpenSession(
					t.Context(), "users",
					relay.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:1"), Protocol: "HTTP"},
				)
				if err != nil {
					t.Fatal(err)
				}
				err = c.Authenticate(
					t.Context(), auth.Proof{Username: "app", Password: fmt.Sprint(round, i)},
				)
				if err == nil {
					t.Fatal("a wrong password was taken")
				}
			}
			if looks > 12 {
				t.Fatalf("round %d: %d guesses were looked at", round, looks)
			}
			if err := r.Reload(cfg); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Nobody waits for a verifier that ignores its context, over HTTP neither, and
// a reload leaves the salts of unknown users as they are.
func TestVerifierIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		cfg := local(newCapture(), newCapture())
		cfg.Hostname, cfg.Spool, cfg.TLS = "relay.example.test", memspool.New(nil), certificate(t)
		cfg.Connectors = []*connector.Connector{bind(connector.Submission("users"), "127.0.0.1")}
		cfg.Verifier = auth.VerifierFunc(func(
			context.Context, auth.Proof,
		) (*auth.Identity, error) {
			<-release
			return &auth.Identity{User: "app@example.test"}, nil
		})
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		c, err := r.OpenSession(
			t.Context(), "users",
			relay.Peer{
				Remote: netip.MustParseAddrPort("192.0.2.7:1"), TLS: new(tls.ConnectionState),
				Protocol: "HTTP",
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = c.Authenticate(
			t.Context(), auth.Proof{Username: "app@example.test", Password: "secret"},
		)
		if reply, ok := errors.AsType[*relay.ReplyError](err); !ok || reply.Code != 454 ||
			time.Since(began) != 30*time.Second || c.Identity() != nil {
			t.Errorf("%v after %v, then %v", err, time.Since(began), c.Identity())
		}
	})
	var kept relay.Config
	w := start(t, func(cfg *relay.Config) {
		cfg.TLS, cfg.Verifier, cfg.Auth = certificate(t), nil, everyMechanism(t, "secret")
		cfg.Auth.Certificates = nil
		cfg.Connectors[2].AuthMechanisms |= connector.TLS
		kept = *cfg
	})
	salt := func() string {
		c := w.dial(t, "users")
		c.Play(startTLS)
		c.Say(
			"AUTH SCRAM-SHA-256 " + base64.StdEncoding.EncodeToString(
				[]byte("n,,n=nobody,r=nonce"),
			),
		)
		challenge, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(c.reply(), "334 "))
		_, s, _ := strings.Cut(string(challenge), ",s=")
		return s
	}
	before := salt()
	if err := w.relay.Reload(kept); err != nil {
		t.Fatal(err)
	}
	if after := salt(); before == "" || after != before {
		t.Errorf("salt %q, after a reload %q", before, after)
	}
}

// Who hangs up before the answer is counted none the less.
func TestHangingUpIsCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		looks := 0
		r := admitting(t, func(cfg *relay.Config) {
			cfg.Verifier = auth.VerifierFunc(func(
				ctx context.Context, _ auth.Proof,
			) (*auth.Identity, error) {
				looks++
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(100 * time.Millisecond):
					return nil, auth.ErrBadCredentials
				}
			})
		})
		for i := range 100 {
			c, err := r.OpenSession(t.Context(), "users", inTLS())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if err := c.Authenticate(
				ctx, auth.Proof{Username: "app", Password: fmt.Sprint("guess", i)},
			); err == nil {
				t.Error("a guess was taken")
			}
			cancel()
		}
		if looks > 12 {
			t.Errorf("%d guesses were looked at", looks)
		}
	})
}
