package smtpd_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/internal/wiretest"
)

// scripted is a connection whose client sends everything at once and then hangs
// up.
type scripted struct {
	in     io.Reader
	out    strings.Builder
	mu     sync.Mutex
	closed chan struct{}
	once   sync.Once
}

func (c *scripted) Read(p []byte) (int, error) { return c.in.Read(p) }
func (c *scripted) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}
func (c *scripted) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}
func (c *scripted) LocalAddr() net.Addr              { return address("192.0.2.1:25") }
func (c *scripted) RemoteAddr() net.Addr             { return address("192.0.2.7:25") }
func (c *scripted) SetDeadline(time.Time) error      { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }

// FuzzConnection sends arbitrary octets to a server. Whatever they are: replies
// are well-formed, and a message is taken only when its true end was sent.
func FuzzConnection(f *testing.F) {
	for _, s := range []string{
		"EHLO a\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
		"EHLO a\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nBDAT 3\r\nabcBDAT 2 LAST\r\n" +
			"\r\nRSET\r\n",
		"HELO a\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nAUTH LOGIN\r\nYQ==\r\n*\r\n",
		"EHLO a\r\nAUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPWFiY2RlZmdoaWprbG1ub3A=\r\n" +
			"Yz1iaXdzLHI9YWJjLHA9QUFBQQ==\r\n\r\nNOOP\r\n",
		"EHLO a\r\nAUTH SCRAM-SHA-256\r\n\r\neSwsbj1hbGljZSxyPWFiY2RlZmdoaWprbG1ub3A=\r\n*\r\n" +
			"AUTH OAUTHBEARER bixhPWEsAQE=\r\nAQ==\r\n",
		"EHLO a\r\nAUTH EXTERNAL =\r\nAUTH PLAIN =\r\nAUTH PLAIN\r\n=\r\nAUTH LOGIN =\r\n=\r\n",
		"EHLO a\nNOOP\x00\r\nSTARTTLS\r\n\x16\x03\x01",
		"EHLO a\r\nMAIL FROM:<boom@b.test>\r\n",
		"EHLO a\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<mid@d.test>\r\nDATA\r\nxxxxx\r\n.\n.\r\n" +
			".\r\nBDAT 9999999 LAST\r\n",
	} {
		f.Add([]byte(s))
	}
	line := regexp.MustCompile(`^[2345][0-9][0-9][ -][ -~]*$`)
	c := open()
	c.AuthMechanisms = connector.TLS | connector.BasicAuth
	c.Limits.MaxProtocolErrors = -1
	l := newMemory()
	backend := &recorder{}
	s := smtpd.New(
		smtpd.Config{
			Hostname: "mx.example.test", Logger: slog.New(slog.DiscardHandler),
			Settings: settingsFor(f, backend, c),
		},
	)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	f.Cleanup(func() {
		s.Close()
		<-served
	})
	f.Fuzz(func(t *testing.T, in []byte) {
		backend := &recorder{}
		settings := settingsFor(t, backend, c)
		settings.Auth = bounded(people())
		settings.Auth.Passwords = backend
		s.Apply(settings)
		conn := &scripted{in: strings.NewReader(string(in)), closed: make(chan struct{})}
		l.conns <- conn
		<-conn.closed
		conn.mu.Lock()
		out := conn.out.String()
		conn.mu.Unlock()
		// After STARTTLS comes a TLS alert.
		out, _, _ = strings.Cut(out, "\x15\x03")
		queued := 0
		for _, reply := range strings.Split(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			if out != "" && !line.MatchString(reply) {
				t.Fatalf("reply %q", reply)
			}
			if strings.HasPrefix(reply, "250 2.0.0 Ok: queued as ") {
				queued++
			}
		}
		taken := backend.taken()
		if queued > len(taken) {
			t.Fatalf("%d messages acknowledged, %d taken", queued, len(taken))
		}
		ends := strings.Count(string(in), "\n.\r\n") + strings.Count(
			strings.ToUpper(string(in)), "LAST\r\n",
		)
		if len(taken) > ends {
			t.Fatalf("%d messages from %d ends", len(taken), ends)
		}
		for _, m := range taken {
			if m.mail.Body != "BINARYMIME" &&
				strings.ContainsAny(strings.ReplaceAll(m.body, "\r\n", ""), "\r\n\x00") {
				t.Fatalf("content %q", m.body)
			}
		}
	})
}

// discard is the cheapest backend.
type discard struct{}

func (discard) Connect(context.Context, *smtpd.Session) error                        { return nil }
func (discard) Helo(context.Context, *smtpd.Session) error                           { return nil }
func (discard) Mail(context.Context, *smtpd.Session, *smtpd.Mail) error              { return nil }
func (discard) Rcpt(context.Context, *smtpd.Session, *smtpd.Mail, *smtpd.Rcpt) error { return nil }
func (discard) Auth(context.Context, *smtpd.Session) error                           { return nil }
func (discard) Rejected(*smtpd.Session, smtpd.Rejection)                             {}
func (discard) LoggedOn(*smtpd.Session)                                              {}
func (discard) Message(
	_ context.Context, _ *smtpd.Session, _ *smtpd.Mail, r io.Reader,
) (string, error) {
	_, err := r.(io.WriterTo).WriteTo(io.Discard)
	return "0123456789abcdef0123456789", err
}

// listen serves on a loopback socket.
func listen(t testing.TB) (addr string, s *smtpd.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := open()
	c.Bindings = []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())}
	c.RemoteIPRanges = []connector.Range{
		{From: netip.MustParseAddr("127.0.0.0"), To: netip.MustParseAddr("127.255.255.255")},
	}
	s = smtpd.New(
		smtpd.Config{
			Hostname: "mx.example.test", Logger: slog.New(slog.DiscardHandler),
			Settings: settingsFor(t, discard{}, c),
		},
	)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), s
}

// exchangeLines sends, and reads one reply whose code must be last. It panics,
// for it runs on other goroutines than the test's.
func exchangeLines(c net.Conn, r *bufio.Reader, send, last string) {
	if _, err := io.WriteString(c, send); err != nil {
		panic(err)
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			panic(err)
		}
		if len(line) > 4 && line[3] == ' ' {
			if string(line[:3]) != last {
				panic(fmt.Sprintf("after %.40q: %q", send, line))
			}
			return
		}
	}
}

func deliver(c net.Conn, r *bufio.Reader, body string) {
	exchangeLines(c, r, "MAIL FROM:<sender@example.test> SIZE=1000\r\n", "250")
	exchangeLines(c, r, "RCPT TO:<recipient@example.test>\r\n", "250")
	exchangeLines(c, r, "DATA\r\n", "354")
	exchangeLines(c, r, body, "250")
}

// BenchmarkSession is a session over loopback, client included.
func BenchmarkSession(b *testing.B) {
	for name, size := range map[string]int{"1KB": 1 << 10, "10KB": 10 << 10} {
		body := strings.Repeat(strings.Repeat("x", 76)+"\r\n", size/78) + ".\r\n"
		b.Run(name+"/Reused", func(b *testing.B) {
			addr, _ := listen(b)
			var c net.Conn
			var r *bufio.Reader
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%1000 == 0 {
					c, r = connect(addr)
					defer c.Close()
				}
				deliver(c, r, body)
			}
		})
		b.Run(name+"/New", func(b *testing.B) {
			addr, _ := listen(b)
			b.ReportAllocs()
			for b.Loop() {
				c, r := connect(addr)
				deliver(c, r, body)
				exchangeLines(c, r, "QUIT\r\n", "221")
				c.Close()
			}
		})
	}
}

func connect(addr string) (net.Conn, *bufio.Reader) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		panic(err)
	}
	r := bufio.NewReader(c)
	exchangeLines(c, r, "", "220")
	exchangeLines(c, r, "EHLO client.example.test\r\n", "250")
	return c, r
}

// An idle session costs less than 24 KB of heap and stack, also one that has
// sent much and stops in the midst of a line.
func TestIdleSessionMemory(t *testing.T) {
	addr, _ := listen(t)
	use := func() uint64 {
		var m runtime.MemStats
		// Twice: the first collection also shrinks stacks, the second sweeps.
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	const sessions = 1000
	conns := make([]net.Conn, 0, sessions)
	buf := make([]byte, 4096)
	before := use()
	for range sessions {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, send := range []string{
			"", "EHLO a\r\n", "MAIL FROM:<a@example.test>\r\n", "RCPT TO:<b@example.test>\r\n",
			"RSET\r\n", strings.Repeat("NOOP "+strings.Repeat("x", 1000)+"\r\n", 3) + "N",
		} {
			if _, err := io.WriteString(c, send); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
		conns = append(conns, c)
	}
	each := (use() - before) / sessions
	t.Logf("%d octets each, client's side included", each)
	if each >= 24<<10 {
		t.Errorf("an idle session costs %d octets", each)
	}
	runtime.KeepAlive(conns)
	debug.FreeOSMemory()
}

// A client that is still sending when it is sent away can read why.
func TestLastReplyArrives(t *testing.T) {
	addr, _ := listen(t)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	if _, err := r.ReadString('\n'); err != nil { // the banner
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(c, strings.Repeat("FOO\r\n", 100_000)) }()
	all, err := io.ReadAll(r)
	if err != nil ||
		!strings.HasSuffix(string(all), "421 4.7.0 Too many errors on this connection\r\n") {
		t.Errorf("%v after %q", err, all)
	}
}

// Sessions, changes of the settings and a shutdown at the same time.
func TestConcurrentSessions(t *testing.T) {
	addr, s := listen(t)
	body := strings.Repeat("x\r\n..\r\n", 10_000) + ".\r\n"
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				c, r := connect(addr)
				for range 5 {
					deliver(c, r, body)
				}
				exchangeLines(c, r, "QUIT\r\n", "221")
				c.Close()
			}
		})
	}
	wg.Go(func() {
		for range 100 {
			s.Apply(s.CurrentSettings())
			runtime.Gosched()
		}
	})
	wg.Wait()
	idle, _ := connect(addr)
	defer idle.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if got, _ := io.ReadAll(idle); !strings.HasPrefix(string(got), "421 4.3.2 ") {
		t.Errorf("idle session got %q", got)
	}
}

// A client that has spoken when its connection is accepted is not greeted; one
// that waits is.
func TestSpokenBeforeTheBanner(t *testing.T) {
	c := open()
	c.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	c.RemoteIPRanges = []connector.Range{connector.MustParseRange("127.0.0.1")}
	for first, want := range map[string]string{
		"EHLO a\r\n": "421 4.7.0 Data sent before the greeting*", "": "220 *",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.Bindings[0] = netip.MustParseAddrPort(l.Addr().String())
		b := &recorder{}
		s := smtpd.New(smtpd.Config{Settings: settingsFor(t, b, c)})
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, first); err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		line, err := bufio.NewReader(conn).ReadString('\n')
		if !wiretest.Match(want, strings.TrimRight(line, "\r\n")) {
			t.Errorf("after %q: %q, %v", first, line, err)
		}
		conn.Close()
		s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}
