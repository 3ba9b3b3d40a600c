package smtpd_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// accepted is a message that the recorder took.
type accepted struct {
	mail smtpd.Mail
	body string
}

// recorder is a backend that does what the names in the commands say.
type recorder struct {
	mu        sync.Mutex
	messages  []accepted
	failures  []error // read errors seen by Message
	rejected  []smtpd.Rejection
	loggedOn  []string
	connected int
	inside    atomic.Int32 // calls of the session under way

	byWriteTo bool
	hold      chan struct{} // Message waits for it
}

func (b *recorder) enter() func() {
	if b.inside.Add(1) != 1 {
		panic("overlapping calls")
	}
	return func() { b.inside.Add(-1) }
}

func (b *recorder) act(name string) error {
	switch name {
	case "refused":
		return &smtpd.Reply{Code: 550, Enhanced: "5.1.1", Text: "User unknown"}
	case "later":
		return &smtpd.Reply{Code: 451, Enhanced: "4.3.0", Text: "Later"}
	case "leave":
		return &smtpd.Reply{Code: 421, Enhanced: "4.3.2", Text: "Go away"}
	case "plain":
		return errors.New("dial db.internal:5432\r\n250 2.0.0 forged")
	case "wrapped":
		return fmt.Errorf(
			"policy: %w",
			&smtpd.Reply{
				Code: 550, Enhanced: "5.7.1", Text: "No\r\n250 forged", Cause: errors.New("secret"),
			},
		)
	case "odd":
		return &smtpd.Reply{Code: 250, Text: "fine"}
	case "nil":
		var r *smtpd.Reply
		return r
	case "bare":
		return &smtpd.Reply{Code: 550, Enhanced: "4.7.1", Text: "No"}
	case "boom":
		panic("boom")
	}
	return nil
}

func (b *recorder) Connect(_ context.Context, s *smtpd.Session) error {
	defer b.enter()()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.connected++
	if s.Remote.Addr() == netip.MustParseAddr("192.0.2.66") {
		return &smtpd.Reply{Code: 554, Enhanced: "5.7.1", Text: "Listed"}
	}
	return nil
}

func (b *recorder) Helo(_ context.Context, s *smtpd.Session) error {
	defer b.enter()()
	return b.act(strings.TrimSuffix(s.Helo, ".test"))
}

// Verify knows everybody by the password "secret".
func (b *recorder) Verify(ctx context.Context, c auth.Credentials) (*auth.Identity, error) {
	defer b.enter()()
	switch {
	case c.Username == "down":
		return nil, errors.New("ldap: connection refused by 10.0.0.7")
	case c.Username == "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	case c.Username == "none":
		return nil, nil
	case c.Username == "boom":
		panic("boom")
	case c.Password != "secret":
		return nil, fmt.Errorf("users: %w", auth.ErrBadCredentials)
	}
	return &auth.Identity{User: c.Username, Server: c.Username == "server"}, nil
}

func (b *recorder) Auth(_ context.Context, s *smtpd.Session) error {
	defer b.enter()()
	if s.Identity.User == "barred" {
		return &smtpd.Reply{Code: 550, Enhanced: "5.7.1", Text: "Account disabled"}
	}
	return nil
}

func (b *recorder) Mail(_ context.Context, s *smtpd.Session, m *smtpd.Mail) error {
	defer b.enter()()
	if !s.Rights.Has(connector.Submit) {
		return &smtpd.Reply{Code: 530, Enhanced: "5.7.1", Text: "Client was not authenticated"}
	}
	return b.act(m.From.Local())
}

func (b *recorder) Rcpt(_ context.Context, s *smtpd.Session, m *smtpd.Mail, r *smtpd.Rcpt) error {
	defer b.enter()()
	return b.act(r.To.Local())
}

func (b *recorder) Message(
	ctx context.Context, s *smtpd.Session, m *smtpd.Mail, content io.Reader,
) (string, error) {
	defer b.enter()()
	switch m.Recipients[0].To.Local() {
	case "unread":
		return "never", nil
	case "full":
		return "", &smtpd.Reply{Code: 452, Enhanced: "4.3.1", Text: "Insufficient system resources"}
	case "broken":
		panic("broken")
	case "mid":
		_, _ = io.ReadFull(content, make([]byte, 3))
		return "", errors.New("disk error on /var/spool")
	}
	var body strings.Builder
	var err error
	if b.byWriteTo {
		_, err = content.(io.WriterTo).WriteTo(&body)
	} else {
		_, err = io.Copy(&body, struct{ io.Reader }{content})
	}
	if err == nil && b.hold != nil {
		select {
		case <-b.hold:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.failures = append(b.failures, err)
		return "", err
	}
	b.messages = append(b.messages, accepted{*m, body.String()})
	return fmt.Sprintf("Q%d", len(b.messages)), nil
}

func (b *recorder) LoggedOn(s *smtpd.Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loggedOn = append(b.loggedOn, s.Identity.User+" by "+string(s.Mechanism))
}

func (b *recorder) Rejected(_ *smtpd.Session, r smtpd.Rejection) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rejected = append(b.rejected, r)
}

func (b *recorder) taken() []accepted {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]accepted(nil), b.messages...)
}

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
	t       testing.TB
	backend *recorder
	server  *smtpd.Server
	policy  smtpd.Policy
	l       *memory
	served  chan error
	peers   []*peer
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

func policyFor(t testing.TB, b smtpd.Backend, list ...*connector.Connector) smtpd.Policy {
	t.Helper()
	set, err := connector.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	p := smtpd.Policy{Connectors: set, TLS: serverTLS(), Backend: b}
	if v, ok := b.(auth.Verifier); ok {
		p.Auth = bounded(&auth.Server{Passwords: v})
	}
	return p
}

// bounded is a server as a relay has it.
func bounded(s *auth.Server) *auth.Server {
	return smtpd.NewCalls(slog.New(slog.DiscardHandler), 0).Bound(s)
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
		Policy:   policyFor(t, b, list...),
		Gateways: func() []netip.Addr { return nil },
	}
	change(&cfg)
	r.policy = cfg.Policy
	r.server = smtpd.New(cfg)
	go func() { r.served <- r.server.Serve(r.l) }()
	return r
}

func (r *rig) stop() {
	for _, p := range r.peers {
		p.close()
	}
	r.server.Close()
	if err := <-r.served; err != nil {
		r.t.Errorf("Serve: %v", err)
	}
}

// dial connects from an address. The rig closes the connection in the end.
func (r *rig) dial(from string) *peer {
	client, server := net.Pipe()
	a := &addressed{Conn: server, remote: address(from)}
	r.l.conns <- a
	p := &peer{
		t: r.t, raw: client, conn: client, server: a, out: make(chan []byte, 4096),
		wrote: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	p.in = bufio.NewReaderSize(client, 1<<20)
	r.peers = append(r.peers, p)
	go p.write()
	return p
}

func (r *rig) client() *peer { return r.dial("192.0.2.7:40000") }

// peer is the client's side. It writes without waiting for the server to read.
type peer struct {
	t       testing.TB
	raw     net.Conn
	conn    net.Conn
	server  *addressed
	in      *bufio.Reader
	out     chan []byte
	wrote   chan struct{}
	gone    chan struct{}
	pending sync.WaitGroup
	once    sync.Once
}

func (p *peer) write() {
	for {
		select {
		case b := <-p.out:
			_, _ = p.conn.Write(b)
			p.pending.Done()
		case <-p.gone:
			return
		}
	}
}

// send writes s as it is.
func (p *peer) send(s string) {
	p.pending.Add(1)
	p.out <- []byte(s)
}

// cmd writes lines, each with CRLF.
func (p *peer) cmd(lines ...string) { p.send(strings.Join(lines, "\r\n") + "\r\n") }

// read returns the next line of the server.
func (p *peer) read() (string, error) {
	s, err := p.in.ReadString('\n')
	if err != nil {
		return s, err
	}
	line, ok := strings.CutSuffix(s, "\r\n")
	if !ok {
		return s, fmt.Errorf("line without CRLF: %q", s)
	}
	return line, nil
}

// expect reads replies and checks each line against a pattern with *.
func (p *peer) expect(patterns ...string) {
	p.t.Helper()
	for _, want := range patterns {
		got, err := p.read()
		if err != nil {
			p.t.Fatalf("want %q: %v", want, err)
		}
		if !match(want, got) {
			p.t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// expectClose checks that the server closes without another word.
func (p *peer) expectClose() {
	p.t.Helper()
	if s, err := p.read(); err == nil || s != "" {
		p.t.Fatalf("got %q (%v), want the connection closed", s, err)
	}
}

// ehlo opens the session and reads the whole reply.
func (p *peer) ehlo() []string {
	p.t.Helper()
	p.cmd("EHLO client.test")
	var lines []string
	for {
		s, err := p.read()
		if err != nil {
			p.t.Fatal(err)
		}
		lines = append(lines, s[4:])
		if s[3] == ' ' {
			return lines
		}
	}
}

func (p *peer) startTLS() {
	p.t.Helper()
	p.pending.Wait()
	p.handshake(clientTLS())
}

func (p *peer) handshake(cfg *tls.Config) {
	p.t.Helper()
	c := tls.Client(newBuffered(p.raw, p.gone), cfg)
	if err := c.Handshake(); err != nil {
		p.t.Fatalf("handshake: %v", err)
	}
	p.conn, p.in = c, bufio.NewReaderSize(c, 1<<20)
}

// buffered is a connection whose writes do not wait for the other side to read,
// as on a socket.
type buffered struct {
	net.Conn
	out  chan []byte
	gone chan struct{}
}

func newBuffered(c net.Conn, gone chan struct{}) *buffered {
	b := &buffered{Conn: c, out: make(chan []byte, 1024), gone: gone}
	go func() {
		for {
			select {
			case p := <-b.out:
				_, _ = c.Write(p)
			case <-gone:
				return
			}
		}
	}()
	return b
}

func (b *buffered) Write(p []byte) (int, error) {
	select {
	case b.out <- append([]byte(nil), p...):
		return len(p), nil
	case <-b.gone:
		return 0, net.ErrClosed
	}
}

func (p *peer) close() {
	p.once.Do(func() {
		close(p.gone)
		p.raw.Close()
	})
}

// match compares with a pattern in which * stands for any text.
func match(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, m := range parts[1 : len(parts)-1] {
		i := strings.Index(s, m)
		if i < 0 {
			return false
		}
		s = s[i+len(m):]
	}
	return strings.HasSuffix(s, last)
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
