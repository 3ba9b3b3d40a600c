package outbound_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// guarded is a next hop that takes a second over each logon and counts them.
type guarded struct {
	refuses atomic.Bool
	tries   atomic.Int64
	at      atomic.Int64
	most    atomic.Int64
}

func (g *guarded) serve(c net.Conn) {
	defer c.Close()
	_, _, err := speak(c, []string{
		"S: 220 mx", "C: EHLO relay.example.test", "S: 250-mx", "S: 250 AUTH PLAIN",
		"C: AUTH PLAIN AHUAcA==",
	})
	if err != nil {
		return
	}
	g.tries.Add(1)
	if n := g.at.Add(1); n > g.most.Load() {
		g.most.Store(n)
	}
	time.Sleep(time.Second)
	g.at.Add(-1)
	if g.refuses.Load() {
		follow(c, []string{"S: 535 5.7.8 no"})
		return
	}
	follow(c, []string{
		"S: 235 2.7.0 ok", "C: MAIL FROM:<alice@example.com>", "S: 250 ok",
		"C: RCPT TO:<bob@example.net>", "S: 250 ok", "C: DATA", "S: 354 go",
		`C> hi\r\n.\r\n`, "S: 250 2.0.0 taken",
	})
}

// However many messages wait, a wrong password is tried once, and once more
// when the host may have learned better.
func TestRefusedPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guarded{}
		g.refuses.Store(true)
		c := newClient(t, dialPipe(g.serve))
		r := newRequest("hi\r\n")
		r.Hop.Username, r.Hop.Password, r.Hop.AllowPlaintextAuth = "u", "p", true
		r.Hop.MessagesPerConnection = 1
		deliver := func(n int, want string) {
			t.Helper()
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() { expect(t, c.Deliver(t.Context(), r), want) })
			}
			wg.Wait()
		}
		refused := `temporary auth 535 5.7.8 "no"`
		deliver(20, refused)
		if n := g.tries.Load(); n != 1 {
			t.Errorf("%d tries, want 1", n)
		}
		// Another next hop is asked for itself.
		other := *r
		hop := *r.Hop
		hop.MaxConnections = 10
		other.Hop = &hop
		expect(t, c.Deliver(t.Context(), &other), refused)
		if n := g.tries.Load(); n != 2 {
			t.Errorf("%d tries, want 2", n)
		}
		time.Sleep(outbound.RefusedFor)
		deliver(20, refused)
		if n := g.tries.Load(); n != 3 {
			t.Errorf("%d tries, want 3", n)
		}
		g.refuses.Store(false)
		time.Sleep(outbound.RefusedFor)
		g.most.Store(0)
		deliver(1, taken)
		if n := g.most.Load(); n != 1 {
			t.Errorf("%d tries at once while the password was doubtful", n)
		}
		deliver(10, taken) // and now at once
		if n := g.most.Load(); n < 2 {
			t.Errorf("%d logons at once", n)
		}
	})
}
