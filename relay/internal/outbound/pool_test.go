package outbound_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
)

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
	for i := range 2000 {
		r := newRequest("hi\r\n")
		r.Hop.Hosts, r.Domain = nil, fmt.Sprintf("[198.51.%d.%d]", 100+i/250, i%250)
		expect(t, c.Deliver(t.Context(), r), taken)
	}
	if n := c.Hops(); n > 1024 {
		t.Errorf("%d next hops, want 1024 at most", n)
	}
}

// Next hops that were busy at once, more than are remembered, do not stay.
func TestPoolShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		c := newClient(t, dialPipe(func(nc net.Conn) {
			<-time.After(time.Second)
			s.serve(nc)
		}))
		deliver := func(from, n int) {
			var wg sync.WaitGroup
			for i := range n {
				r := newRequest("hi\r\n")
				r.Hop.Hosts = []string{fmt.Sprintf("10.%d.%d.1", (from+i)/250, (from+i)%250)}
				wg.Go(func() { expect(t, c.Deliver(t.Context(), r), taken) })
			}
			wg.Wait()
		}
		deliver(0, 1100)
		if n := c.Hops(); n != 1100 {
			t.Errorf("%d next hops of 1100 that are busy", n)
		}
		deliver(2000, 100)
		if n := c.Hops(); n > 1024 {
			t.Errorf("%d next hops, want 1024 at most", n)
		}
	})
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

// A connection is for all whose settings are those that made it, and for nobody
// else: not after a reload, nor for another transport to the same host.
func TestConnectionsAreForTheSettingsThatMadeThem(t *testing.T) {
	n := &network{serve: (&sink{}).serve}
	c := newClient(t, n.dial)
	deliver := func(change func(*connector.NextHop)) string {
		t.Helper()
		r := newRequest("hi\r\n")
		r.Hop.Hosts = []string{"10.0.0.1"}
		change(r.Hop)
		expect(t, c.Deliver(t.Context(), r), taken)
		return n.took()
	}
	if got := deliver(func(*connector.NextHop) {}); got != "1" {
		t.Fatalf("dialled %q", got)
	}
	for name, change := range map[string]func(*connector.NextHop){
		"the same, elsewhere":    func(*connector.NextHop) {},
		"a default spelled out":  func(h *connector.NextHop) { h.Port = 25 },
		"what is not of the way": func(h *connector.NextHop) { h.AllowUnverifiedAuth = true },
	} {
		if got := deliver(change); got != "" {
			t.Errorf("%s: dialled %q", name, got)
		}
	}
	for name, change := range map[string]func(*connector.NextHop){
		"hosts":          func(h *connector.NextHop) { h.Hosts = []string{"10.0.0.1:25"} },
		"TLS":            func(h *connector.NextHop) { h.TLS = connector.TLSNone },
		"TLSDomain":      func(h *connector.NextHop) { h.TLSDomain = "a.example" },
		"RootCAs":        func(h *connector.NextHop) { h.RootCAs = x509.NewCertPool() },
		"FQDN":           func(h *connector.NextHop) { h.FQDN = "other.example.test" },
		"password":       func(h *connector.NextHop) { h.Password = "p" },
		"plaintext":      func(h *connector.NextHop) { h.AllowPlaintextAuth = true },
		"MaxConnections": func(h *connector.NextHop) { h.MaxConnections = 7 },
		"Certificates": func(h *connector.NextHop) {
			h.Certificates = []tls.Certificate{{Certificate: [][]byte{{1}}}}
		},
	} {
		if got := deliver(change); got != "1" {
			t.Errorf("%s: dialled %q", name, got)
		}
	}
}
