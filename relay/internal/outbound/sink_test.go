package outbound_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"

	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/spool"
)

// sink is a next hop that follows the standards. Its handler runs on any
// net.Conn.
type sink struct {
	extensions []string
	lmtp       bool
	tls        *tls.Config
	discard    bool // keeps no messages
	runs       bool // the octets of refused chunks are commands to it

	accepted atomic.Int64
	conns    atomic.Int64
	mu       sync.Mutex
	messages [][]byte
	verbs    []string // as received, in order
}

// serve speaks for one connection.
func (s *sink) serve(c net.Conn) {
	defer c.Close()
	s.conns.Add(1)
	r := bufio.NewReaderSize(c, 64<<10)
	var out []byte
	flush := func() bool {
		_, err := c.Write(out)
		out = out[:0]
		return err == nil
	}
	reply := func(text string) { out = append(append(out, text...), "\r\n"...) }
	reply("220 sink.example.net")
	var body []byte
	rcpts := 0
	done := func() {
		n := 1
		if s.lmtp {
			n = rcpts
		}
		for range n {
			reply("250 2.0.0 taken")
		}
		s.accepted.Add(1)
		if !s.discard {
			s.mu.Lock()
			s.messages = append(s.messages, bytes.Clone(body))
			s.mu.Unlock()
		}
		body, rcpts = body[:0], 0
	}
	for {
		if r.Buffered() == 0 && !flush() {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSuffix(string(line), "\r\n"), " ")
		if !s.discard {
			s.mu.Lock()
			s.verbs = append(s.verbs, verb)
			s.mu.Unlock()
		}
		switch verb {
		case "EHLO", "LHLO":
			reply("250-sink.example.net")
			for _, e := range s.extensions {
				reply("250-" + e)
			}
			reply("250 HELP")
		case "STARTTLS":
			reply("220 2.0.0 go ahead")
			if !flush() {
				return
			}
			tc := tls.Server(c, s.tls)
			if tc.Handshake() != nil {
				return
			}
			c = tc
			r.Reset(c)
		case "MAIL":
			rcpts, body = 0, body[:0]
			reply("250 2.1.0 ok")
		case "NOOP":
			reply("250 2.0.0 ok")
			if r.Buffered() > 0 { // RFC 2920 section 3.1: the last of a group
				reply("554 synchronization error")
				flush()
				return
			}
		case "RSET":
			rcpts, body = 0, body[:0]
			reply("250 2.0.0 ok")
		case "RCPT":
			rcpts++
			reply("250 2.1.5 ok")
		case "DATA":
			reply("354 go on")
			if !flush() {
				return
			}
			for {
				line, err := r.ReadSlice('\n')
				if err != nil && err != bufio.ErrBufferFull {
					return
				}
				if string(line) == ".\r\n" {
					break
				}
				if !s.discard {
					body = append(body, bytes.TrimPrefix(line, []byte("."))...)
				}
			}
			done()
		case "BDAT":
			size, last, _ := strings.Cut(arg, " ")
			n, _ := strconv.Atoi(size)
			if rcpts == 0 && s.runs {
				n = 0
			}
			if s.discard {
				r.Discard(n)
			} else {
				chunk := make([]byte, n)
				if _, err := io.ReadFull(r, chunk); err != nil {
					return
				}
				body = append(body, chunk...)
			}
			if rcpts == 0 {
				reply("503 5.5.1 nobody is to get it")
			} else if last == "LAST" {
				done()
			} else {
				reply("250 2.0.0 chunk")
			}
		case "QUIT":
			return
		default:
			reply("500 5.5.1 what?")
		}
	}
}

func (s *sink) last() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.messages) == 0 {
		return nil
	}
	return s.messages[len(s.messages)-1]
}

// listen accepts on loopback until the test ends and returns the address.
func listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(c) })
		}
	})
	return l.Addr().String()
}

// dialTo connects to one place whatever the address.
func dialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
}

// dialPipe connects to serve without a socket, for tests inside synctest.
func dialPipe(serve func(net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go serve(theirs)
		return ours, nil
	}
}

// zone is a Resolver.
type zone struct {
	delivery.Resolver
	mx   map[string][]*net.MX
	ip   map[string][]string
	fail error // for every name not listed; nil: not found
}

func (z zone) missing(name string) error {
	if z.fail != nil {
		return z.fail
	}
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z zone) LookupMX(
	_ context.Context, name string,
) (a delivery.Answer[*net.MX], err error) {
	a.Name = name
	if l, ok := z.mx[name]; ok {
		a.Records = l
		return a, nil
	}
	return a, z.missing(name)
}

func (z zone) LookupNetIP(
	_ context.Context, _, name string,
) (a delivery.Answer[netip.Addr], err error) {
	a.Name = name
	for _, addr := range z.ip[name] {
		a.Records = append(a.Records, netip.MustParseAddr(addr))
	}
	if a.Records == nil {
		return a, z.missing(name)
	}
	return a, nil
}

// oneHost is a zone with the one smart host of most tests.
var oneHost = zone{ip: map[string][]string{"mx.example.net": {"192.0.2.1"}}}

// newClient makes a client that connects to dial and is closed with the test.
func newClient(
	t testing.TB, dial func(context.Context, string, string) (net.Conn, error),
	more ...func(*outbound.Config),
) *outbound.Client {
	cfg := outbound.Config{Hostname: "relay.example.test", Resolver: oneHost, Dial: dial}
	for _, f := range more {
		f(&cfg)
	}
	c := outbound.New(cfg)
	t.Cleanup(func() { c.Close() })
	return c
}

// newRequest is a request with that content and those recipients for
// mx.example.net.
func newRequest(content string, to ...string) *outbound.Request {
	if to == nil {
		to = []string{"bob@example.net"}
	}
	a := &delivery.Attempt{
		QueueID: "1",
		Message: spool.Message{From: "alice@example.com", Size: int64(len(content))},
		Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content)), nil
		},
	}
	for _, address := range to {
		a.Recipients = append(a.Recipients, spool.Recipient{Address: address})
	}
	return &outbound.Request{Attempt: a, Hop: &connector.NextHop{
		Hosts: []string{"mx.example.net"}, AllowPrivateAddresses: true, MessagesPerConnection: 100,
	}}
}

// show prints a result in one line, for comparison.
func show(r delivery.Result) string {
	if r.Delivered {
		return "delivered " + replied(r.Reply)
	}
	e := failureOf(r)
	outcome := "temporary "
	if e.Permanent {
		outcome = "permanent "
	}
	s := outcome + e.Op.String() + " " + replied(e.Reply)
	if e.Err != nil {
		s += " error"
	}
	return s
}

func replied(r delivery.Reply) string {
	s := fmt.Sprintf("%d %s", r.Code, r.Enhanced)
	if r.Text != "" {
		s += " " + strconv.Quote(r.Text)
	}
	return s
}

// failureOf returns the failure in a result; an empty one if there is none.
func failureOf(r delivery.Result) *delivery.Error {
	if e, ok := errors.AsType[*delivery.Error](r.Err); ok {
		return e
	}
	return new(delivery.Error)
}

func expect(t *testing.T, results []delivery.Result, want ...string) {
	t.Helper()
	if len(results) != len(want) {
		t.Errorf("%d results, want %d", len(results), len(want))
	}
	for i := range min(len(results), len(want)) {
		if got := show(results[i]); got != want[i] {
			t.Errorf("result %d: %s (%v)\nwant %s", i, got, results[i].Err, want[i])
		}
	}
}

const taken = `delivered 250 2.0.0 "taken"`
