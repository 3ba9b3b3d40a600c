package smtpd_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/internal/wiretest"
)

// memory is a listener on connections in memory.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMemory() *memory {
	return &memory{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *memory) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memory) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *memory) Addr() net.Addr { return address("192.0.2.1:25") }

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// addressed gives a pipe the addresses of a TCP connection and counts the
// writes.
type addressed struct {
	net.Conn
	remote address
	writes atomic.Int32
}

func (c *addressed) LocalAddr() net.Addr  { return address("192.0.2.1:25") }
func (c *addressed) RemoteAddr() net.Addr { return c.remote }
func (c *addressed) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// rig is a server with a recorder behind it.
type rig struct {
	t        testing.TB
	backend  *recorder
	server   *smtpd.Server
	settings smtpd.Settings
	l        *memory
	served   chan error
	clients  []*client
}

// open returns a connector for tests: anonymous submission for all, no delays.
func open() *connector.Connector {
	return &connector.Connector{
		Name:     "test",
		Bindings: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:25")},
		RemoteIPRanges: []connector.Range{
			{From: netip.MustParseAddr("192.0.2.0"), To: netip.MustParseAddr("192.0.2.255")},
		},
		PermissionGroups: connector.AnonymousUsers | connector.ExchangeUsers,
		AuthMechanisms:   connector.TLS | connector.BasicAuth | connector.BasicAuthRequireTLS,
		FQDN:             "mx.example.test",
		Limits: connector.Limits{
			Tarpit: -1, AuthTarpit: -1, MaxConnectionsPerSource: -1,
			MaxConnectionsPercentPerSource: -1, ConnectionRate: -1,
		},
	}
}

func settingsFor(t testing.TB, b smtpd.Backend, list ...*connector.Connector) smtpd.Settings {
	t.Helper()
	set, err := connector.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	p := smtpd.Settings{Connectors: set, TLS: serverTLS(), Backend: b}
	if v, ok := b.(auth.Verifier); ok {
		p.Auth = bounded(&auth.Server{Passwords: v})
	}
	return p
}

// bounded is a server as a relay has it.
func bounded(s *auth.Server) *policy.Verifiers {
	return policy.NewCalls(slog.New(slog.DiscardHandler), 0).Bound(s)
}

// start serves a connector. In a synctest bubble it must be called inside.
func start(t testing.TB, list ...*connector.Connector) *rig {
	t.Helper()
	return startWith(t, func(*smtpd.Config) {}, list...)
}

// startWith is start with a changed configuration.
func startWith(t testing.TB, change func(*smtpd.Config), list ...*connector.Connector) *rig {
	t.Helper()
	b := &recorder{}
	r := &rig{t: t, backend: b, l: newMemory(), served: make(chan error, 1)}
	cfg := smtpd.Config{
		Hostname: "relay.example.test", Logger: slog.New(slog.DiscardHandler),
		Settings: settingsFor(t, b, list...),
		Gateways: func() []netip.Addr { return nil },
	}
	change(&cfg)
	r.settings = cfg.Settings
	r.server = smtpd.New(cfg)
	go func() { r.served <- r.server.Serve(r.l) }()
	return r
}

func (r *rig) stop() {
	for _, c := range r.clients {
		c.Close()
	}
	r.server.Close()
	if err := <-r.served; err != nil {
		r.t.Errorf("Serve: %v", err)
	}
}

// dial connects from an address. The rig closes the connection in the end.
func (r *rig) dial(from string) *client {
	near, far := net.Pipe()
	c := &client{
		wiretest.Join(r.t, near, wiretest.Client), r.t,
		&addressed{Conn: far, remote: address(from)},
	}
	c.TLS = clientTLS()
	r.l.conns <- c.server
	r.clients = append(r.clients, c)
	return c
}

func (r *rig) client() *client { return r.dial("192.0.2.7:40000") }

// client is the client's side of a connection.
type client struct {
	*wiretest.Side
	t      testing.TB
	server *addressed
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.example.test"},
		DNSNames:  []string{"mx.example.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(100 * 365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func serverTLS() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{certificate()}} }

func clientTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// bubbleWith is bubble with a changed configuration.
func bubbleWith(
	t *testing.T, change func(*smtpd.Config), f func(t *testing.T, r *rig),
	list ...*connector.Connector,
) {
	t.Helper()
	certificate()
	synctest.Test(t, func(t *testing.T) {
		r := startWith(t, change, list...)
		defer r.stop()
		f(t, r)
	})
}

// bubble runs f in a synctest bubble with a server for the connectors.
func bubble(t *testing.T, f func(t *testing.T, r *rig), list ...*connector.Connector) {
	t.Helper()
	certificate()
	if list == nil {
		list = []*connector.Connector{open()}
	}
	synctest.Test(t, func(t *testing.T) {
		r := start(t, list...)
		defer r.stop()
		f(t, r)
	})
}

// begin brings a session to where content may follow.
func (p *client) begin() {
	p.t.Helper()
	p.Say("MAIL FROM:<a@example.test>", "RCPT TO:<b@example.test>")
	p.Expect("250 2.1.0 *", "250 2.1.5 *")
}
