package relay_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
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
