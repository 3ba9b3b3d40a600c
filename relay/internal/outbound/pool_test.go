package outbound_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// network is a Dial for hosts that are up or down, which keeps what was
// dialled. Its hosts are addresses "10.0.0.N".
type network struct {
	serve func(net.Conn)
	down  map[string]bool

	mu     sync.Mutex
	dialed []string
}

func (n *network) dial(_ context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	host, _, _ := net.SplitHostPort(addr)
	n.dialed = append(n.dialed, strings.TrimPrefix(host, "10.0.0."))
	if n.down[host] {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	go n.serve(theirs)
	return ours, nil
}

func (n *network) took() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := strings.Join(n.dialed, " ")
	n.dialed = nil
	return s
}

func poolOf3(content string, to ...string) *outbound.Request {
	r := newRequest(content, to...)
	r.Hop.Hosts = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}
	return r
}

func TestRotation(t *testing.T) {
	n := &network{serve: (&sink{}).serve}
	c := newClient(t, n.dial)
	r := poolOf3("hi\r\n")
	r.Hop.MessagesPerConnection = 1
	for _, want := range []string{"1", "2", "3", "1", "2"} {
		res := c.Deliver(t.Context(), r)
		expect(t, res, taken)
		if got := n.took(); got != want {
			t.Errorf("dialled %s, want %s", got, want)
		}
		if want := "10.0.0." + want + " [10.0.0." + want + "]:25"; res[0].Host != want {
			t.Errorf("host %s, want %s", res[0].Host, want)
		}
	}
	// A next hop with other settings has a rotation of its own.
	r.Hop.Username, r.Hop.AllowPlaintextAuth = "", true
	expect(t, c.Deliver(t.Context(), r), taken)
	if got := n.took(); got != "1" {
		t.Errorf("dialled %s", got)
	}
}

// The order of fail-over follows the rotation: 1,2,3 then 2,3,1 then 3,1,2.
// Dead hosts come last for 30 seconds.
func TestFailOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{
			serve: (&sink{}).serve,
			down:  map[string]bool{"10.0.0.1": true, "10.0.0.2": true, "10.0.0.3": true},
		}
		c := newClient(t, n.dial)
		r := poolOf3("hi\r\n", "a@example.net", "b@example.net")
		r.Hop.MessagesPerConnection = 1
		const refused = "temporary dial 0 4.4.1 error"
		wait := func() { <-time.After(31 * time.Second) }
		deliver := func(dialed string, want ...string) {
			t.Helper()
			expect(t, c.Deliver(context.Background(), r), want...)
			if got := n.took(); got != dialed {
				t.Errorf("dialled %s, want %s", got, dialed)
			}
		}
		deliver("1 2 3", refused, refused)
		wait()
		deliver("2 3 1", refused, refused)
		deliver("3 1 2", refused, refused)
		n.down = map[string]bool{"10.0.0.1": true}
		wait()
		deliver("1 2", taken, taken)
		deliver("2", taken, taken)
		deliver("3", taken, taken)
		deliver("2", taken, taken) // 1 2 3, with 1 known to be dead
		deliver("2", taken, taken)
		n.down = nil
		wait()
		deliver("3", taken, taken)
		deliver("1", taken, taken)
	})
}

// What makes the client go on to the next host, and what not.
func TestFailOverReasons(t *testing.T) {
	hello := []string{"S: 220 mx", "C: EHLO relay.example.test", "S: 250 mx"}
	mail := append(slices.Clone(hello), "C: MAIL FROM:<alice@example.com>")
	for name, test := range map[string]struct {
		script []string
		dialed string
		want   string
	}{
		"greeting 421": {
			[]string{"S: 421 4.3.2 busy"}, "1 2 3", `temporary greeting 421 4.3.2 "busy"`,
		},
		"greeting 554": {
			[]string{"S: 554 5.3.2 no"}, "1 2 3", `permanent greeting 554 5.3.2 "no"`,
		},
		"greeting ends": {[]string{"close"}, "1 2 3", "temporary greeting 0 4.4.2 error"},
		"ehlo 421": {
			[]string{hello[0], hello[1], "S: 421 busy"}, "1 2 3", `temporary ehlo 421  "busy"`,
		},
		"helo 550": {
			[]string{hello[0], hello[1], "S: 502 no", "C: HELO relay.example.test", "S: 550 no"},
			"1 2 3", `permanent ehlo 550  "no"`,
		},
		"mail 421": {
			append(slices.Clone(mail), "S: 421 4.3.2 busy"), "1 2 3",
			`temporary mail 421 4.3.2 "busy"`,
		},
		"mail ends": {append(slices.Clone(mail), "close"), "1 2 3", "temporary mail 0 4.4.2 error"},
		"mail 451": {
			append(slices.Clone(mail), "S: 451 4.3.0 later"), "1",
			`temporary mail 451 4.3.0 "later"`,
		},
		"mail 550": {
			append(slices.Clone(mail), "S: 550 5.7.1 no"), "1", `permanent mail 550 5.7.1 "no"`,
		},
		"rcpt ends": {
			append(slices.Clone(mail), "S: 250 ok", "C: RCPT TO:<bob@example.net>", "close"), "1",
			"temporary rcpt 0 4.4.2 error",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := &network{serve: func(c net.Conn) {
				defer c.Close()
				follow(c, test.script)
			}}
			c := newClient(t, n.dial)
			expect(t, c.Deliver(t.Context(), poolOf3("hi\r\n")), test.want)
			if got := n.took(); got != test.dialed {
				t.Errorf("dialled %s, want %s", got, test.dialed)
			}
		})
	}
}

// A failure is permanent only when all hosts say so.
func TestFailOverMixed(t *testing.T) {
	for down, want := range map[string]string{
		"10.0.0.1": "temporary dial 0 4.4.1 error",
		"10.0.0.3": "temporary dial 0 4.4.1 error",
		"":         `permanent greeting 554  "no"`,
	} {
		n := &network{down: map[string]bool{down: true}, serve: func(c net.Conn) {
			defer c.Close()
			follow(c, []string{"S: 554 no"})
		}}
		c := newClient(t, n.dial)
		expect(t, c.Deliver(t.Context(), poolOf3("hi\r\n")), want)
	}
}

func TestReuse(t *testing.T) {
	s := &sink{extensions: []string{"PIPELINING"}}
	c := newClient(t, dialTo(listen(t, s.serve)))
	r := newRequest("hi\r\n")
	for range 205 {
		expect(t, c.Deliver(t.Context(), r), taken)
	}
	if n := s.conns.Load(); n != 3 { // 100 messages each
		t.Errorf("%d connections, want 3", n)
	}
}

func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		c := newClient(t, dialPipe(s.serve))
		deliver := func() {
			expect(t, c.Deliver(context.Background(), newRequest("hi\r\n")), taken)
		}
		deliver()
		<-time.After(4 * time.Second)
		deliver()
		<-time.After(4 * time.Second)
		if n := c.Idle(); n != 1 {
			t.Errorf("%d idle connections after 4 s, want 1", n)
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if n := c.Idle(); n != 0 {
			t.Errorf("%d idle connections after 6 s, want none", n)
		}
		deliver()
		c.Close()
		synctest.Wait()
		if got := strings.Join(
			s.verbs, " ",
		); got != "EHLO MAIL RCPT DATA MAIL RCPT DATA QUIT EHLO MAIL RCPT DATA QUIT" {
			t.Errorf("verbs %s", got)
		}
		expect(
			t, c.Deliver(context.Background(), newRequest("hi\r\n")),
			"temporary dial 0 4.4.1 error",
		)
	})
}

// An idle connection that the peer has closed, or has said something on, is not
// used.
func TestIdlePeek(t *testing.T) {
	for name, last := range map[string]func(net.Conn){
		"closed": func(c net.Conn) { c.Close() },
		"unsolicited": func(c net.Conn) {
			io.WriteString(c, "250 2.0.0 for whatever comes next\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			first := make(chan net.Conn, 1)
			said := make(chan struct{})
			s := &sink{}
			var n atomic.Int32
			c := newClient(t, dialTo(listen(t, func(nc net.Conn) {
				if n.Add(1) > 1 {
					s.serve(nc)
					return
				}
				defer nc.Close()
				speak(nc, []string{
					"S: 220 mx", "C: EHLO relay.example.test", "S: 250 mx",
					"C: MAIL FROM:<alice@example.com>", "S: 550 5.7.1 first",
				})
				first <- nc
				<-said
			})))
			expect(
				t, c.Deliver(t.Context(), newRequest("hi\r\n")), `permanent mail 550 5.7.1 "first"`,
			)
			last(<-first)
			expect(t, c.Deliver(t.Context(), newRequest("hi\r\n")), taken)
			close(said)
		})
	}
}

func TestMaxConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		var now, most atomic.Int32
		dial := dialPipe(s.serve)
		c := newClient(t, func(ctx context.Context, network, addr string) (net.Conn, error) {
			most.Store(max(most.Load(), now.Add(1)))
			<-time.After(time.Second)
			nc, err := dial(ctx, network, addr)
			return &counted{Conn: nc, open: &now}, err
		})
		r := newRequest("hi\r\n")
		r.Hop.MaxConnections, r.Hop.MessagesPerConnection = 2, 2
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { expect(t, c.Deliver(context.Background(), r), taken) })
		}
		wg.Wait()
		if n, m := s.conns.Load(), most.Load(); n < 4 || m != 2 {
			t.Errorf("%d connections, %d at a time, want 4 or more, 2 at a time", n, m)
		}
	})
}

type counted struct {
	net.Conn
	open *atomic.Int32
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// A delivery that waits for a connection is let go by its context, and its
// place is not lost.
func TestMaxConnectionsCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		c := newClient(t, dialPipe(func(nc net.Conn) {
			<-time.After(30 * time.Second)
			s.serve(nc)
		}))
		r := newRequest("hi\r\n")
		r.Hop.MaxConnections = 1
		var wg sync.WaitGroup
		wg.Go(func() { expect(t, c.Deliver(context.Background(), r), taken) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		res := c.Deliver(ctx, r)
		expect(t, res, "temporary dial 0 4.4.1 error")
		if !errors.Is(res[0].Err, context.DeadlineExceeded) {
			t.Errorf("error %v", res[0].Err)
		}
		wg.Wait()
		expect(t, c.Deliver(context.Background(), r), taken)
		if n := s.conns.Load(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}

// Neither idle connections nor next hops gather without bound.
func TestPoolBounds(t *testing.T) {
	s := &sink{discard: true}
	c := newClient(t, dialPipe(s.serve))
	for i := range 150 {
		r := newRequest("hi\r\n")
		r.Hop.Hosts, r.Domain = nil, fmt.Sprintf("[192.0.2.%d]", i)
		expect(t, c.Deliver(t.Context(), r), taken)
	}
	if n := c.Idle(); n != 100 {
		t.Errorf("%d idle connections, want 100", n)
	}
	c.Close()
	if n := c.Hops(); n != 0 {
		t.Errorf("%d next hops, want none", n)
	}
}

// Nor what is remembered of failures.
func TestMemoBound(t *testing.T) {
	c := newClient(t, func(context.Context, string, string) (net.Conn, error) {
		return nil, io.ErrClosedPipe
	})
	r := newRequest("hi\r\n")
	for i := range 3000 {
		r.Hop.Hosts = []string{fmt.Sprintf("10.0.%d.%d", i/250, i%250)}
		expect(t, c.Deliver(t.Context(), r), "temporary dial 0 4.4.1 error")
	}
	if n := c.Dead(); n > 1024 {
		t.Errorf("%d dead hosts remembered", n)
	}
	if n := c.Hops(); n > 1025 {
		t.Errorf("%d next hops remembered", n)
	}
}

func TestConcurrent(t *testing.T) {
	s := &sink{extensions: []string{"PIPELINING"}, discard: true}
	c := newClient(t, dialTo(listen(t, s.serve)))
	r := newRequest(strings.Repeat("Twenty-five octets here\r\n", 100))
	r.Hop.MaxConnections, r.Hop.MessagesPerConnection = 4, 7
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				if res := c.Deliver(ctx, r); show(res[0]) != taken {
					t.Error(show(res[0]), res[0].Err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if n := s.accepted.Load(); n != 800 {
		t.Errorf("%d messages, want 800", n)
	}
}

// Content that cannot be read leaves the mail waiting and, unless it was on its
// way, the connection usable.
func TestOpenFails(t *testing.T) {
	s := &sink{}
	c := newClient(t, dialTo(listen(t, s.serve)))
	r := newRequest("hi\r\n")
	open := r.Open
	r.Open = func(context.Context) (io.ReadCloser, error) { return nil, io.ErrClosedPipe }
	expect(t, c.Deliver(t.Context(), r), "temporary content 0 4.3.0 error")
	r.Open = open
	expect(t, c.Deliver(t.Context(), r), taken)
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// Content that breaks off on its way ends the connection short of the end of
// the message.
func TestContentBreaksOff(t *testing.T) {
	for _, ext := range []string{"PIPELINING", "CHUNKING"} {
		s := &sink{extensions: []string{"8BITMIME", ext}}
		c := newClient(t, dialTo(listen(t, s.serve)))
		r := newRequest("")
		r.Open = func(context.Context) (io.ReadCloser, error) {
			text := strings.NewReader(strings.Repeat("Twenty-five octets here\r\n", 10000))
			return io.NopCloser(io.MultiReader(text, iotest.ErrReader(io.ErrClosedPipe))), nil
		}
		res := c.Deliver(t.Context(), r)
		expect(t, res, "temporary content 0 4.3.0 error")
		if !errors.Is(res[0].Err, io.ErrClosedPipe) {
			t.Error(res[0].Err)
		}
		r = newRequest("hi\r\n")
		expect(t, c.Deliver(t.Context(), r), taken)
		if n := s.accepted.Load(); n != 1 || s.conns.Load() != 2 {
			t.Errorf("%s: %d messages on %d connections", ext, n, s.conns.Load())
		}
	}
}

// The steps are in the log, and the password is not.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	n := &network{down: map[string]bool{"10.0.0.1": true}, serve: func(c net.Conn) {
		defer c.Close()
		follow(c, []string{
			"S: 220 mx", "C: EHLO relay.example.test", "S: 250-mx", "S: 250 AUTH PLAIN",
			"C: AUTH PLAIN AGFwcABzM2NyM3Q=", "S: 235 ok",
			"C: MAIL FROM:<alice@example.com>", "S: 421 4.3.2 closing",
		})
	}}
	c := newClient(t, n.dial, func(cfg *outbound.Config) {
		cfg.Logger = slog.New(
			slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}),
		)
	})
	r := poolOf3("hi\r\n")
	r.Hop.Username, r.Hop.Password, r.Hop.AllowPlaintextAuth = "app", "s3cr3t", true
	c.Deliver(t.Context(), r)
	for _, want := range []string{
		"connection failed", "connection refused", "connected", "id=1", "code=421", "10.0.0.3",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log", want)
		}
	}
	for _, secret := range []string{"s3cr3t", "AGFwcABzM2NyM3Q="} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q in the log", secret)
		}
	}
}

func TestResultDSN(t *testing.T) {
	for _, ext := range []string{"DSN", "HELP"} {
		c := newClient(t, dialTo(listen(t, (&sink{extensions: []string{ext}}).serve)))
		if res := c.Deliver(t.Context(), newRequest("hi\r\n")); res[0].DSN != (ext == "DSN") {
			t.Errorf("%s: DSN %v", ext, res[0].DSN)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := t.TempDir() + "/lmtp"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &sink{lmtp: true}
	go func() {
		if nc, err := l.Accept(); err == nil {
			s.serve(nc)
		}
	}()
	c := newClient(t, nil)
	r := newRequest("hi\r\n")
	r.Hop.Hosts, r.Hop.LMTP = []string{"unix:" + path}, true
	res := c.Deliver(t.Context(), r)
	expect(t, res, `delivered 250 2.0.0 "taken"`)
	if res[0].Host != "unix:"+path {
		t.Errorf("host %s", res[0].Host)
	}
}

// smallHost has room for two connections at once and turns others away.
type smallHost struct {
	how  string // reply at the greeting, MAIL 432 or close
	room int

	mu              sync.Mutex
	open, taken, no int
}

func (h *smallHost) count(n int) (over bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open += n; n > 0 && h.open > h.room {
		h.no++
		return true
	}
	if n > 0 {
		h.taken++
	}
	return false
}

func (h *smallHost) serve(c net.Conn) {
	defer c.Close()
	over := h.count(1)
	defer h.count(-1)
	s := &sink{}
	switch {
	case over && h.how == "close":
	case over && strings.HasPrefix(h.how, "MAIL "):
		follow(c, []string{
			"S: 220 mx", "C: EHLO relay.example.test", "S: 250 mx",
			"C: MAIL FROM:<alice@example.com>", "S: " + strings.TrimPrefix(h.how, "MAIL "),
		})
	case over:
		follow(c, []string{"S: " + h.how})
	default:
		time.Sleep(time.Second)
		s.serve(c)
	}
}

// A host that turns a connection away while it serves others has room for no
// more than those: the messages wait for them.
func TestNoRoomForAnotherConnection(t *testing.T) {
	for _, how := range []string{
		"421 4.7.0 too many connections", "554 5.7.0 too many connections", "close",
		"MAIL 432 4.3.2 concurrent connections limit exceeded",
		"MAIL 421 4.7.0 too many connections",
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := &smallHost{how: how, room: 2}
				c := newClient(t, dialPipe(host.serve))
				r := newRequest("hi\r\n")
				burst := func() {
					t.Helper()
					var wg sync.WaitGroup
					for range 12 {
						wg.Go(func() { expect(t, c.Deliver(t.Context(), r), taken) })
					}
					wg.Wait()
				}
				burst()
				if n := c.Limit(r.Hop, r.Domain); n != 2 {
					t.Errorf("room for %d, want 2", n)
				}
				no := host.no
				if no == 0 {
					t.Error("nothing was turned away")
				}
				burst()
				if host.no != no {
					t.Errorf("%d more turned away at once", host.no-no)
				}
				time.Sleep(time.Minute)
				if n := c.Limit(r.Hop, r.Domain); n != 20 {
					t.Errorf("room for %d after a minute, want 20", n)
				}
				burst()
				if n := c.Limit(r.Hop, r.Domain); n != 2 {
					t.Errorf("room for %d, want 2 again", n)
				}
			})
		})
	}
}

// A host that turns every connection away is not waited for.
func TestNoRoomAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &smallHost{how: "421 4.7.0 go away"}
		c := newClient(t, dialPipe(host.serve))
		r := newRequest("hi\r\n")
		var wg sync.WaitGroup
		for range 12 {
			wg.Go(func() {
				expect(t, c.Deliver(t.Context(), r), `temporary greeting 421 4.7.0 "go away"`)
			})
		}
		wg.Wait()
		if host.no > 24 {
			t.Errorf("%d connections for 12 messages", host.no)
		}
	})
}
