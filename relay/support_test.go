package relay_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/wiretest"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// sent is a message that a sink was given.
type sent struct {
	hello   string // the name in EHLO
	from    string // with its parameters
	to      []string
	params  []string // of each RCPT
	content string
}

// sink is a next hop that follows the standards and keeps what it is given.
type sink struct {
	lmtp  bool
	noDSN bool
	seven bool // without 8BITMIME
	// reply answers a command line, or "." for the content, in the place of
	// 250.
	reply func(line string) string
	mail  chan sent
	l     net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
}

func newSink() *sink {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s := &sink{l: l, mail: make(chan sent, 1000)}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(c) })
		}
	})
	return s
}

func (s *sink) addr() string { return s.l.Addr().String() }

func (s *sink) close() {
	s.l.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// sinkFor is a sink that ends with the test.
func sinkFor(t *testing.T, reply func(line string) string) *sink {
	s := newSink()
	s.reply = reply
	t.Cleanup(s.close)
	return s
}

func (s *sink) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	say := func(text string) { io.WriteString(c, text+"\r\n") }
	answer := func(line string) bool {
		text := "250 2.0.0 ok"
		if s.reply != nil {
			if other := s.reply(line); other != "" {
				text = other
			}
		}
		say(text)
		return text[0] == '2'
	}
	say("220 sink.example.test ESMTP")
	var m sent
	var hello string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		verb, _, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO", "LHLO":
			hello = strings.TrimPrefix(line, verb+" ")
			last := "250 DSN"
			if s.noDSN {
				last = "250 HELP"
			}
			eight := "250-8BITMIME\r\n"
			if s.seven {
				eight = ""
			}
			say(
				"250-sink.example.test\r\n250-PIPELINING\r\n" + eight +
					"250-ENHANCEDSTATUSCODES\r\n250-SIZE\r\n" + last,
			)
		case "MAIL":
			m = sent{hello: hello}
			if answer(line) {
				m.from = path(line)
			}
		case "RCPT":
			if answer(line) {
				_, params, _ := strings.Cut(line, "> ")
				m.to, m.params = append(m.to, path(line)), append(m.params, params)
			}
		case "DATA":
			if len(m.to) == 0 {
				say("554 5.5.1 no valid recipients")
				continue
			}
			say("354 go on")
			var b strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				b.WriteString(strings.TrimPrefix(line, "."))
			}
			m.content = b.String()
			answers := 1
			if s.lmtp {
				answers = len(m.to)
			}
			ok := true
			for range answers {
				ok = answer(".") && ok
			}
			if ok {
				s.mail <- m
			}
		case "QUIT":
			say("221 2.0.0 bye")
			return
		default:
			say("250 2.0.0 ok")
		}
	}
}

func path(line string) string {
	_, rest, _ := strings.Cut(line, "<")
	p, _, _ := strings.Cut(rest, ">")
	return p
}

// wait returns the next message.
func (s *sink) wait(t *testing.T) sent {
	t.Helper()
	select {
	case m := <-s.mail:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("no message arrived")
		panic("unreachable")
	}
}

// talk is an SMTP client that says what it is told to.
type talk struct {
	*wiretest.Side
	t *testing.T
	// refusals are the replies of 400 and above, in order.
	refusals []string
}

// dial connects to a connector, reads the banner and says EHLO.
func (w *world) dial(t *testing.T, name string) *talk {
	t.Helper()
	c := w.connect(t, name)
	c.Expect("220 ")
	c.Say("EHLO client.example.test")
	c.Expect("250 ")
	return c
}

func (w *world) connect(t *testing.T, name string) *talk {
	t.Helper()
	conn, err := net.Dial("tcp", w.addr(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	c := &talk{Side: wiretest.Join(t, conn, wiretest.Client), t: t}
	t.Cleanup(c.Close)
	c.TLS, c.Loose = &tls.Config{InsecureSkipVerify: true}, true
	c.Replied = func(line string) {
		if line[0] == '4' || line[0] == '5' {
			c.refusals = append(c.refusals, line)
		}
	}
	return c
}

// say sends one line; \0, \n and \r stand for the octets.

// reply reads one reply, its lines joined.
func (c *talk) reply() string {
	c.t.Helper()
	lines, err := c.Reply()
	if err != nil {
		c.t.Fatalf("after %q: %v", lines, err)
	}
	return strings.Join(lines, "\n")
}

// startTLS is the part of a dialogue that goes over to TLS.
const startTLS = "C: STARTTLS\nS: 220\ntls\nC: EHLO client.example.test\nS: 250\n"

// transact sends a message and returns the reply to its content.
func (c *talk) transact(content, from string, to ...string) string {
	c.t.Helper()
	c.Play("C: MAIL FROM:<" + from + ">\nS: 250 ")
	for _, r := range to {
		c.Play("C: RCPT TO:<" + r + ">\nS: 250 ")
	}
	c.Play("C: DATA\nS: 354 ")
	c.Send(content + ".\r\n")
	return c.reply()
}

// certificate makes a server's TLS configuration.
func certificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"relay.example.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
}

// hooked is a store whose operations can be made to fail or to wait.
type hooked struct {
	spool.Store
	commit func(context.Context, spool.Commit) error // before the commit
	after  func(spool.Commit)                        // after it, before the caller learns of it
	settle func(spool.Settlement) error
	create func(spool.ID) error
	wake   chan struct{}
}

func (h *hooked) Wake() <-chan struct{} { return h.wake }

func (h *hooked) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	if h.create != nil {
		if err := h.create(id); err != nil {
			return nil, err
		}
	}
	w, err := h.Store.Create(ctx, id)
	if err != nil {
		return nil, err
	}
	return &hookedWriter{w, h}, nil
}

func (h *hooked) Settle(ctx context.Context, s spool.Settlement) error {
	if h.settle != nil {
		if err := h.settle(s); err != nil {
			return err
		}
	}
	return h.Store.Settle(ctx, s)
}

type hookedWriter struct {
	spool.Writer
	h *hooked
}

func (w *hookedWriter) Commit(ctx context.Context, c spool.Commit) error {
	if w.h.commit != nil {
		if err := w.h.commit(ctx, c); err != nil {
			w.Writer.Abort()
			return err
		}
	}
	err := w.Writer.Commit(ctx, c)
	if err == nil && w.h.after != nil {
		w.h.after(c)
	}
	return err
}

// record keeps events in order.
type record struct {
	mu   sync.Mutex
	list []event.Event
}

func (r *record) add(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, e)
}

func (r *record) all(match ...event.Kind) []event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []event.Event
	for _, e := range r.list {
		if len(match) == 0 || slices.Contains(match, e.Kind) {
			out = append(out, e)
		}
	}
	return out
}

func (e *events) all(k event.Kind) []event.Event {
	if e.told != nil {
		e.told(context.Background())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []event.Event
	for _, ev := range e.list {
		if ev.Kind == k {
			out = append(out, ev)
		}
	}
	return out
}

// logs is a log in memory.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// run starts a relay without sockets, for tests on a clock of their own.
func run(t *testing.T, cfg relay.Config) *relay.Relay {
	t.Helper()
	if cfg.Hostname == "" {
		cfg.Hostname = "relay.example.test"
	}
	if cfg.Spool == nil {
		cfg.Spool = memspool.New(nil)
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// bubble runs a test on a clock of its own.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// submit queues a short message.
func submit(t *testing.T, r *relay.Relay, from string, to ...string) string {
	t.Helper()
	receipt, err := r.Submit(
		t.Context(), &relay.Message{From: from, To: to, Content: strings.NewReader(text)},
	)
	if err != nil {
		t.Fatal(err)
	}
	return receipt.QueueID
}

// local is a configuration whose example.test is delivered to mailboxes.
func local(mailboxes, out delivery.Transport) relay.Config {
	return relay.Config{
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.test", Recipients: domains.StaticRecipients("alice", "bob", "app")},
		},
		Mailboxes: mailboxes,
		Transport: out,
	}
}

// bind gives a connector a free port of a loopback address.
func bind(c *connector.Connector, ip string) *connector.Connector {
	c.Bindings = []netip.AddrPort{netip.MustParseAddrPort(ip + ":0")}
	c.Limits.Tarpit, c.Limits.AuthTarpit = -1, -1
	return c
}

func show(list []event.Event) string {
	var b strings.Builder
	for _, e := range list {
		fmt.Fprintf(&b, "\n%s %s %v %d %s %q", e.Kind, e.Stage, e.To, e.Code, e.Enhanced, e.Text)
	}
	return b.String()
}
