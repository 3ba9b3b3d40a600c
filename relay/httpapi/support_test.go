package httpapi_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
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
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/httpapi"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

var errDown = errors.New("the user database is down: secret detail")

// users knows app, who may send as app@example.com, and whose labels say so;
// mute, who may do nothing.
func users() auth.Verifier {
	return auth.VerifierFunc(func(_ context.Context, c auth.Proof) (*auth.Identity, error) {
		switch {
		case c.Username == "down":
			return nil, errDown
		case c.Username == "throttled":
			return nil, &auth.ThrottledError{RetryAfter: 1500 * time.Millisecond}
		case c.Password != "secret":
			return nil, auth.ErrBadCredentials
		}
		return &auth.Identity{
			User: c.Username, Senders: []string{"app@example.com"},
			Labels: map[string]string{"tenant": "shop"},
		}, nil
	})
}

// world is a relay, its queue, and a handler before it.
type world struct {
	t       testing.TB
	cfg     relay.Config
	users   *connector.Connector
	http    httpapi.Config
	store   spool.Store
	handler http.Handler

	mu     sync.Mutex
	events []event.Event
	log    strings.Builder
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

// newWorld makes a world with a connector for users and one for printers, who
// do not log on; change may change what it is made of.
func newWorld(t testing.TB, change func(*world)) *world {
	t.Helper()
	w := &world{t: t, users: connector.Submission("users")}
	w.users.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	w.users.Limits.Tarpit, w.users.Limits.AuthTarpit = -1, -1
	printers := connector.AnonymousRelay("printers", connector.MustParseRange("198.51.100.0/24"))
	printers.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	printers.Limits.Tarpit = -1
	w.store = memspool.New(nil)
	w.cfg = relay.Config{
		Hostname: "relay.example.com", Spool: w.store, TLS: certificate(t), Verifier: users(),
		Connectors: []*connector.Connector{w.users, printers},
		AcceptedDomains: []domains.AcceptedDomain{{
			Domain: "example.com",
			Recipients: domains.ResolverFunc(func(
				_ context.Context, a domains.Address,
			) (bool, error) {
				if a.Local() == "slow" {
					return false, errDown
				}
				return a.Local() == "app" || a.Local() == "alice", nil
			}),
		}},
		Mailboxes: delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			return nil
		}),
		Transport: delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			return nil
		}),
		Events: func(e event.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
		Logger: slog.New(slog.NewTextHandler(w, nil)),
	}
	w.http = httpapi.Config{Connector: "users"}
	w.http.Logger = w.cfg.Logger
	if change != nil {
		change(w)
	}
	var err error
	if w.http.Relay, err = relay.New(w.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.http.Relay.Close() })
	if w.handler, err = httpapi.New(w.http); err != nil {
		t.Fatal(err)
	}
	return w
}

// durable gives the world a store that knows idempotency keys.
func durable(w *world) {
	w.t.Helper()
	store, err := filespool.Open(w.t.TempDir(), &filespool.Options{
		SegmentBytes: 1 << 20, InsecureNoSync: true,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = store.Close() })
	w.store, w.cfg.Spool = store, store
}

// Write takes the log.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

// rejected ends the relay and returns its Rejected events.
func (w *world) rejected() []event.Event {
	if err := w.http.Relay.Shutdown(w.t.Context()); err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []event.Event
	for _, e := range w.events {
		if e.Kind == event.Rejected {
			out = append(out, e)
		}
	}
	return out
}

type mailItem struct {
	spool.Message
	to      []spool.Recipient
	content string
}

// queued takes what is in the queue.
func (w *world) queued() []mailItem {
	w.t.Helper()
	l, err := w.store.Lease(
		w.t.Context(),
		spool.LeaseRequest{Max: 100, TTL: time.Hour},
	)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []mailItem
	for _, lease := range l.Leases {
		r, err := w.store.Open(w.t.Context(), lease.Message.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			w.t.Fatal(err)
		}
		r.Close()
		out = append(out, mailItem{lease.Message, lease.Delivery.Recipients, string(b)})
	}
	return out
}

// one takes the only message in the queue.
func (w *world) one() mailItem {
	w.t.Helper()
	list := w.queued()
	if len(list) != 1 {
		w.t.Fatalf("%d deliveries in the queue, want 1", len(list))
	}
	return list[0]
}

// request makes a request of app inside TLS; headers are pairs.
func request(method, target, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	r.SetBasicAuth("app", "secret")
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	return r
}

func post(body string, headers ...string) *http.Request {
	return request(http.MethodPost, "/messages", body, headers...)
}

func raw(query, content string, headers ...string) *http.Request {
	return request(
		http.MethodPost, "/messages?"+query, content,
		append([]string{"Content-Type", "message/rfc822"}, headers...)...,
	)
}

// answer is a response, decoded.
type answer struct {
	Status  int
	Header  http.Header
	Body    string
	QueueID string `json:"queue_id"`
	Type    string
	Title   string
	Detail  string
	SMTP    struct {
		Code           int
		Enhanced, Text string
	}
	Errors []struct {
		Recipient, Pointer, Detail string
		SMTP                       struct{ Code int }
	}
}

func (w *world) do(r *http.Request) answer {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	a := answer{Header: rec.Header(), Body: rec.Body.String()}
	if len(a.Body) > 0 {
		if err := json.Unmarshal([]byte(a.Body), &a); err != nil {
			w.t.Fatalf("body %q: %v", a.Body, err)
		}
	}
	if a.Status != 0 && a.Status != rec.Code {
		w.t.Errorf("status in the body is %d, of the response %d", a.Status, rec.Code)
	}
	a.Status = rec.Code
	return a
}

const simple = `{"from":"app@example.com","to":["bob@example.net"],"subject":"hi","text":"Hello\n"}`
