package admin_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/admin"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

var errDown = errors.New("dial 10.9.8.7: secret detail")

// users knows boss, who is an operator, and clerk, who is not.
func users() auth.Verifier {
	return auth.VerifierFunc(func(_ context.Context, c auth.Proof) (*auth.Identity, error) {
		switch {
		case c.Username == "down":
			return nil, errDown
		case c.Username == "throttled":
			return nil, &auth.ThrottledError{RetryAfter: 1500 * time.Millisecond}
		case c.Password != "secret":
			return nil, auth.ErrBadCredentials
		case c.Username == "boss":
			return &auth.Identity{User: "boss", Groups: []string{"operators"}}, nil
		}
		return &auth.Identity{User: c.Username}, nil
	})
}

func certificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"relay.example.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
}

func bindings(list ...string) []netip.AddrPort {
	out := make([]netip.AddrPort, len(list))
	for i, s := range list {
		out[i] = netip.MustParseAddrPort(s)
	}
	return out
}

// config is that of a relay with one of everything.
func config(t testing.TB) relay.Config {
	t.Helper()
	people := connector.Submission("people")
	people.Bindings = bindings("192.0.2.25:587", "[2001:db8::25]:587")
	people.RequireTLS = true
	apps := connector.AnonymousRelay(
		"apps", connector.MustParseRange("10.0.5.20-10.0.5.21"),
		connector.MustParseRange("10.1.0.0/16"),
	)
	apps.Bindings = bindings("192.0.2.25:25")
	partners := connector.New("partners", connector.Partner)
	partners.Bindings = bindings("192.0.2.25:26")
	partners.RemoteIPRanges = []connector.Range{connector.AllIPv4()}
	partners.AuthMechanisms = connector.NoAuth
	off := connector.Submission("off")
	off.Bindings, off.Disabled = bindings("192.0.2.25:2525"), true
	return relay.Config{
		Hostname: "relay.example.com", Spool: memspool.New(nil), TLS: certificate(t),
		Verifier:   users(),
		Connectors: []*connector.Connector{people, apps, partners, off},
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.com", Recipients: domains.ResolverFunc(func(
				_ context.Context, a domains.Address,
			) (bool, error) {
				if a.Local() == "slow" {
					return false, errDown
				}
				return a.Local() == "alice", nil
			})},
			{Domain: "*.example.net", Type: domains.ExternalRelay},
			{Domain: "example.org", Type: domains.InternalRelay, MatchSubdomains: true},
		},
		Mailboxes: delivery.TransportFunc(func(
			context.Context, *delivery.Attempt,
		) []delivery.Result {
			return nil
		}),
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{
				Hosts: []string{"smtp1.example.net", "smtp2.example.net:465"},
				TLS:   connector.TLSCertificateValidation, Username: "hidden-user",
				Password:            "hidden-password",
				AllowUnverifiedAuth: true,
			},
		}, {
			Name: "off", AddressSpaces: []connector.AddressSpace{{Domain: "off.example"}},
			Disabled: true,
		}},
	}
}

func newRelay(t testing.TB, cfg relay.Config) *relay.Relay {
	t.Helper()
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// open lets everybody in.
func open(*http.Request) bool { return true }

func newHandler(t testing.TB, cfg admin.Config) http.Handler {
	t.Helper()
	h, err := admin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// shown is a handler that shows a relay to everybody.
func shown(t testing.TB, cfg relay.Config) http.Handler {
	t.Helper()
	return newHandler(t, admin.Config{Relay: newRelay(t, cfg), Authorize: open})
}

// journal takes a log.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// take returns what was logged since the last call.
func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.b.String()
	j.b.Reset()
	return s
}

// request makes a request inside TLS; headers are pairs.
func request(method, target, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func postForm(body string, headers ...string) *http.Request {
	return request(
		http.MethodPost, "/explain", body,
		append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...,
	)
}

func postJSON(body string) *http.Request {
	return request(http.MethodPost, "/explain", body, "Content-Type", "application/json")
}

// ranges makes n ranges of one address each.
func ranges(n int) []connector.Range {
	out := make([]connector.Range, n)
	for i := range out {
		out[i] = connector.MustParseRange(fmt.Sprintf("198.51.100.%d", i))
	}
	return out
}
