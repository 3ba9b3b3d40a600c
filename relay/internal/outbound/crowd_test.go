package outbound_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

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
				if n := c.Limit(r.Hop, r.Domain); n < 3 {
					t.Errorf("room for %d after a minute, want to try more", n)
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

// limited serves so many connections at once and has no more of the others
// than the script says.
func limited(s *sink, most int32, script []string) func(net.Conn) {
	var open atomic.Int32
	return func(c net.Conn) {
		defer c.Close()
		defer open.Add(-1)
		if open.Add(1) <= most {
			s.serve(c)
			return
		}
		follow(c, script)
	}
}

// A next hop that takes fewer connections than it may get: what is refused
// waits for one of the others instead of failing.
func TestCrowdedHostIsWaitedFor(t *testing.T) {
	mail := []string{
		"S: 220 mx", "C: EHLO relay.example.test", "S: 250 mx", "C: MAIL FROM:<alice@example.com>",
	}
	for name, script := range map[string][]string{
		"greeting 421":  {"S: 421 4.7.0 too many connections"},
		"greeting ends": {"close"},
		"ehlo 421":      {mail[0], mail[1], "S: 421 4.7.0 too many connections"},
		"mail 421":      append(mail[:4:4], "S: 421 4.7.0 too many"),
		"mail 432":      append(mail[:4:4], "S: 432 4.3.2 too many", "C: QUIT"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{}
				dial := dialPipe(limited(s, 2, script))
				var dials atomic.Int32
				c := newClient(t, func(
					ctx context.Context, network, addr string,
				) (net.Conn, error) {
					dials.Add(1)
					time.Sleep(10 * time.Millisecond)
					return dial(ctx, network, addr)
				})
				r := newRequest("hi\r\n")
				var wg sync.WaitGroup
				for range 40 {
					wg.Go(func() { expect(t, c.Deliver(context.Background(), r), taken) })
				}
				wg.Wait()
				if n := dials.Load(); n > 20 {
					t.Errorf("%d connections tried, want 20 at most", n)
				}
				if n := c.Limit(r.Hop, r.Domain); n < 1 || n > 2 {
					t.Errorf("the limit is %d, want what was learned", n)
				}
				time.Sleep(2 * time.Minute)
				if n := c.Limit(r.Hop, r.Domain); n != 10 {
					t.Errorf("the limit is %d after a while, want 10 as at first", n)
				}
			})
		})
	}
}

// A next hop that refuses everybody is not waited for.
func TestRefusedByAllHostsFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		dial := dialPipe(limited(nil, 0, []string{"S: 421 4.7.0 closed"}))
		c := newClient(t, func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return dial(ctx, network, addr)
		})
		began := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				expect(t, c.Deliver(context.Background(), newRequest("hi\r\n")),
					`temporary greeting 421 4.7.0 "closed"`)
			})
		}
		wg.Wait()
		if n, d := dials.Load(), time.Since(began); n > 40 || d > time.Second {
			t.Errorf("%d connections in %v", n, d)
		}
	})
}

// What waits in vain for a connection is back within two minutes.
func TestWaitForPlaceIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mail := []string{"S: 220 mx", "C: EHLO relay.example.test", "S: 250 mx"}
		c := newClient(t, dialPipe(func(nc net.Conn) {
			defer nc.Close()
			follow(nc, mail)
			silence(nc)
		}))
		r := newRequest("hi\r\n")
		r.Hop.MaxConnections = 1
		var wg sync.WaitGroup
		wg.Go(func() {
			expect(t, c.Deliver(context.Background(), r), "temporary mail 0 4.4.2 error")
		})
		synctest.Wait()
		began := time.Now()
		expect(t, c.Deliver(context.Background(), r), "temporary dial 0 4.4.1 error")
		if d := time.Since(began); d != 2*time.Minute {
			t.Errorf("back after %v, want 2m", d)
		}
		wg.Wait()
	})
}
