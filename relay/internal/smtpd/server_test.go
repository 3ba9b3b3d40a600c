package smtpd_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

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
func (p *peer) begin() {
	p.t.Helper()
	p.cmd("MAIL FROM:<a@example.test>", "RCPT TO:<b@example.test>")
	p.expect("250 2.1.0 *", "250 2.1.5 *")
}

// A panic of the backend ends its session and no other.
func TestS12Panics(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		other := r.client()
		other.expect("220 *")
		for _, commands := range [][]string{
			{"EHLO boom.test"},
			{"EHLO a", "MAIL FROM:<boom@example.test>"},
			{"EHLO a", "MAIL FROM:<a@example.test>", "RCPT TO:<boom@example.test>"},
			{"EHLO a", "MAIL FROM:<a@example.test>", "RCPT TO:<broken@example.test>", "DATA"},
		} {
			p := r.client()
			p.expect("220 *")
			p.cmd(commands...)
			for {
				s, err := p.read()
				if err != nil {
					t.Fatalf("%q: %v", commands, err)
				}
				if strings.HasPrefix(s, "421 4.3.0 ") {
					break
				}
			}
			p.expectClose()
			p.close()
		}
		other.ehlo()
		other.cmd("AUTH PLAIN AGJvb20Ac2VjcmV0")
		other.expect("454 4.7.0 *") // a verifier is called apart
		other.begin()
	}, func() *connector.Connector {
		c := open()
		c.AuthMechanisms = connector.BasicAuth
		return c
	}())
}

// A panic in a callback of the TLS configuration ends the session only.
func TestS12PanicInTLS(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := policyFor(t, r.backend, open())
		p.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			panic("boom")
		}}
		r.server.SetPolicy(p)
		c := r.client()
		c.expect("220 *")
		c.ehlo()
		c.cmd("STARTTLS")
		c.expect("220 *")
		c.pending.Wait()
		if err := tls.Client(c.raw, clientTLS()).Handshake(); err == nil {
			t.Error("handshake succeeded")
		}
		r.server.SetPolicy(r.policy)
		r.client().expect("220 *")
	})
}

// A panic in a report does not end the session.
func TestS12PanicInReport(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.server.SetPolicy(policyFor(t, panicking{r.backend}, open()))
		p := r.client()
		p.expect("220 *")
		p.cmd("FOO", "QUIT")
		p.expect("500 5.3.3 *", "221 *")
		p.expectClose()
	})
}

// panicking panics where the server expects no answer.
type panicking struct{ *recorder }

func (panicking) Rejected(*smtpd.Session, smtpd.Rejection) { panic("rejected") }

func TestS13Shutdown(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		greeted := func() *peer {
			p := r.client()
			p.expect("220 *")
			return p
		}
		idle, fresh, mail, busy, sending := greeted(), greeted(), greeted(), greeted(), greeted()
		idle.ehlo()
		mail.ehlo()
		// without a recipient there is nothing to wait for
		mail.cmd("MAIL FROM:<nobody.yet@example.test>")
		mail.expect("250 *")
		busy.ehlo()
		busy.begin()
		sending.ehlo()
		sending.begin()
		sending.cmd("DATA")
		sending.expect("354 *")
		sending.cmd("first")
		synctest.Wait()

		done := make(chan error, 1)
		go func() { done <- r.server.Shutdown(t.Context()) }()
		for _, p := range []*peer{idle, fresh, mail} {
			p.expect("421 4.3.2 Service shutting down, closing transmission channel")
			p.expectClose()
		}
		sending.cmd("second", ".", "MAIL FROM:<more@example.test>")
		sending.expect("250 2.0.0 *", "421 4.3.2 *")
		sending.expectClose()
		select {
		case err := <-done:
			t.Fatal("Shutdown did not wait for the transaction", err)
		default:
		}
		busy.cmd("RSET")
		busy.expect("250 *", "421 4.3.2 *")
		busy.expectClose()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.server.Serve(newMemory()); !errors.Is(err, smtpd.ErrServerClosed) {
			t.Errorf("Serve after Shutdown: %v", err)
		}
		if err := r.server.Shutdown(t.Context()); err != nil {
			t.Errorf("second Shutdown: %v", err)
		}
		if err := r.server.Close(); err != nil {
			t.Errorf("Close after Shutdown: %v", err)
		}
	})
}

func TestS13ShutdownGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.backend.hold = make(chan struct{})
		p := r.client()
		p.expect("220 *")
		p.ehlo()
		p.begin()
		p.cmd("DATA")
		p.expect("354 *")
		p.cmd("text", ".")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		p.expectClose()
		synctest.Wait()
		if n := len(r.backend.taken()); n != 0 {
			t.Errorf("%d messages after the connection was cut", n)
		}
	})
}

// A client that does not read its replies is let go.
func TestS14WriteDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.client()
		p.expect("220 *")
		p.cmd("NOOP")
		time.Sleep(2 * time.Minute)
		p.expectClose()
	})
}

// Replies to pipelined commands leave in one write, and so does an EHLO reply.
func TestS22Coalescing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.client()
		p.expect("220 *")
		p.ehlo()
		if n := p.server.writes.Load(); n != 2 {
			t.Errorf("banner and EHLO took %d writes, want 2", n)
		}
		p.send(strings.Repeat("NOOP\r\n", 50))
		for range 50 {
			p.expect("250 *")
		}
		p.send(
			"MAIL FROM:<a@example.test>\r\n" + strings.Repeat(
				"RCPT TO:<b@example.test>\r\n", 20,
			) + "DATA\r\n",
		)
		p.expect("250 *")
		for range 20 {
			p.expect("250 *")
		}
		p.expect("354 *")
		if n := p.server.writes.Load(); n != 4 {
			t.Errorf("two batches took %d writes, want 2", n-2)
		}
	})
}

// Content reaches the backend in the blocks in which it arrived.
func TestS23Blocks(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		b := &blocks{recorder: r.backend}
		r.server.SetPolicy(policyFor(t, b, open()))
		p := r.client()
		p.expect("220 *")
		p.ehlo()
		p.begin()
		p.cmd("DATA")
		p.expect("354 *")
		const size = 1 << 20
		p.send(strings.Repeat(strings.Repeat("x", 76)+"\r\n..\r\n", size/82) + ".\r\n")
		p.expect("250 *")
		if want := size / 82 * 81; b.octets != want {
			t.Errorf("%d octets, want %d", b.octets, want)
		}
		if most := size/(32<<10) + 10; b.writes > most {
			t.Errorf("%d writes, want at most %d", b.writes, most)
		}
	})
}

func TestConnectRefused(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.dial("192.0.2.66:1")
		p.expect("554 5.7.1 Listed")
		p.expectClose()
		stranger := r.dial("198.51.100.1:1")
		stranger.expectClose()
	})
}

func TestConnectionLimits(t *testing.T) {
	c := open()
	c.Limits.MaxConnections = 3
	c.Limits.MaxConnectionsPerSource = 2
	bubble(t, func(t *testing.T, r *rig) {
		one := r.dial("192.0.2.7:1")
		one.expect("220 *")
		two := r.dial("192.0.2.7:2")
		two.expect("220 *")
		refused := r.dial("192.0.2.7:3")
		refused.expect("421 4.3.2 * per-source limit*")
		refused.expectClose()
		other := r.dial("192.0.2.8:1")
		other.expect("220 *")
		// The counts outlive a change of policy.
		r.server.SetPolicy(r.policy)
		full := r.dial("192.0.2.9:1")
		full.expect("421 4.3.2 The maximum number of concurrent connections has exceeded a limit*")
		full.expectClose()
		one.cmd("QUIT")
		one.expect("221 *")
		one.expectClose()
		synctest.Wait()
		again := r.dial("192.0.2.7:4")
		again.expect("220 *")
		stages := map[string]int{}
		for _, rej := range r.backend.rejected {
			stages[fmt.Sprint(rej.Stage, rej.Reply.Code)]++
		}
		if stages["connect421"] != 2 {
			t.Errorf("rejections %v", stages)
		}
	}, c)
}

func TestConnectionPercent(t *testing.T) {
	c := open()
	c.Limits.MaxConnections = 10
	c.Limits.MaxConnectionsPercentPerSource = 50
	bubble(t, func(t *testing.T, r *rig) {
		// Half of what is free: 5 of 10, 4 of 9, 4 of 8; the fourth finds a
		// share of 3 of 7, which is used up.
		n := 0
		for range 10 {
			p := r.client()
			if s, err := p.read(); err == nil && s[:3] == "220" {
				n++
			}
		}
		if n != 3 {
			t.Errorf("%d connections from one source, want 3", n)
		}
	}, c)
}

func TestConnectionRate(t *testing.T) {
	c := open()
	c.Limits.ConnectionRate = 4
	const (
		most = "421 4.3.2 The connection rate has exceeded a limit*"
		own  = "421 4.3.2 The connection rate has exceeded a per-source limit*"
	)
	bubble(t, func(t *testing.T, r *rig) {
		for _, step := range []struct {
			from, want string
			after      time.Duration
		}{
			{"192.0.2.7", "220 *", 0},
			{"192.0.2.7", "220 *", 0},
			{"192.0.2.7", own, 0}, // the other half is for others
			{"192.0.2.8", "220 *", 0},
			{"192.0.2.7", own, 0},
			{"192.0.2.9", "220 *", 0},
			{"192.0.2.10", most, 0},
			{"192.0.2.7", "220 *", 30 * time.Second},
			{"192.0.2.7", own, 0},
			{"192.0.2.10", "220 *", 0},
			{"192.0.2.10", most, 0},
			{"192.0.2.7", "220 *", time.Hour},
			{"192.0.2.7", "220 *", 0},
			{"192.0.2.7", own, 0},
		} {
			time.Sleep(step.after)
			p := r.dial(step.from + ":1")
			p.expect(step.want)
			p.close()
		}
	}, c)
}

// A source that never rests does not keep another out, and sources are
// forgotten.
func TestConnectionRateOfOneSource(t *testing.T) {
	c := open()
	c.Limits.ConnectionRate = 60
	bubble(t, func(t *testing.T, r *rig) {
		for i := range 300 {
			p := r.client()
			_, _ = p.read()
			p.close()
			if i%2 == 0 {
				q := r.dial(fmt.Sprintf("192.0.2.%d:1", 8+i/2%50))
				q.expect("220 *")
				q.close()
			}
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Minute)
		r.client().expect("220 *")
		if n := r.server.Sources("test"); n != 1 {
			t.Errorf("%d sources are known", n)
		}
	}, c)
}

// A running session keeps the policy it began with.
func TestSetPolicy(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.client()
		p.expect("220 mx.example.test *")
		c := open()
		c.FQDN = "new.example.test"
		next := &recorder{}
		r.server.SetPolicy(policyFor(t, next, c))
		q := r.client()
		q.expect("220 new.example.test *")
		p.cmd("HELO a", "MAIL FROM:<a@example.test>", "RCPT TO:<b@example.test>", "DATA", ".")
		p.expect("250 mx.example.test *", "250 *", "250 *", "354 *", "250 2.0.0 Ok: queued as Q1")
		if len(r.backend.taken()) != 1 || len(next.taken()) != 0 {
			t.Error("the session went over to the new policy")
		}
	})
}

// What a session shows the backend, before and after TLS and AUTH.
func TestSession(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		w := &watcher{recorder: r.backend}
		r.server.SetPolicy(policyFor(t, w, open()))
		p := r.client()
		p.expect("220 *")
		p.cmd("HELO first", "MAIL FROM:<a@example.test>", "RSET", "STARTTLS")
		p.expect("250 *", "250 *", "250 *", "220 *")
		p.startTLS()
		p.ehlo()
		p.cmd("AUTH PLAIN AGFsaWNlAHNlY3JldA==", "MAIL FROM:<a@example.test> SIZE=7 "+
			"BODY=8BITMIME RET=HDRS ENVID=a+2Bb AUTH=x@example.test",
			"RCPT TO:<b@example.test> NOTIFY=DELAY ORCPT=rfc822;b+2Bc@example.test", "BDAT 0 LAST")
		p.expect("235 *", "250 *", "250 *", "250 *")
		want := []string{
			"mail helo=first esmtp=false tls=false user= any=false",
			"mail helo=client.test esmtp=true tls=true user=alice any=true",
		}
		if got := strings.Join(w.seen, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("got\n%s", got)
		}
		m := r.backend.taken()[0].mail
		rc := m.Recipients[0]
		got := fmt.Sprintln(
			m.Size, m.Body, m.Return, m.EnvelopeID, *m.Auth, rc.Notify, rc.Original, rc.Value,
		)
		if want := "7 8BITMIME HDRS a+b x@example.test DELAY rfc822;b+c@example.test kept\n"; got != want {
			t.Errorf("got %q", got)
		}
	})
}

// IPv6 peers are counted by their /64.
func TestSourceIsNetwork(t *testing.T) {
	c := open()
	c.RemoteIPRanges = []connector.Range{
		{From: netip.MustParseAddr("2001:db8::"), To: netip.MustParseAddr("2001:db8:ffff::")},
	}
	c.Limits.MaxConnectionsPerSource = 1
	bubble(t, func(t *testing.T, r *rig) {
		a := r.dial("[2001:db8::1]:1")
		a.expect("220 *")
		b := r.dial("[2001:db8::2]:1")
		b.expect("421 *")
		b.close()
		other := r.dial("[2001:db8:0:1::2]:1")
		other.expect("220 *")
	}, c)
}

// The sessions held back are bounded: one more is answered at once.
func TestTarpitIsBounded(t *testing.T) {
	c := open()
	c.Limits.Tarpit = time.Minute
	bubble(t, func(t *testing.T, r *rig) {
		var all []*peer
		for range smtpd.MaxPaused + 1 {
			p := r.client()
			p.expect("220 *")
			p.cmd("HELO a", "MAIL FROM:<refused@example.test>")
			p.expect("250 *")
			all = append(all, p)
			synctest.Wait()
		}
		all[smtpd.MaxPaused].expect("550 *")
		began := time.Now()
		all[0].expect("550 *")
		if d := time.Since(began); d < 50*time.Second {
			t.Errorf("held back for %v", d)
		}
	}, c)
}

// The right Bypass-Message-Size-Limit lifts the limit.
func TestSizeLimitBypassed(t *testing.T) {
	c := open()
	c.Limits.MaxMessageBytes = 65536
	c.Grants = []connector.Grant{
		{Principal: connector.Anonymous, Rights: connector.BypassMessageSizeLimit},
	}
	bubble(t, func(t *testing.T, r *rig) {
		p := r.client()
		p.expect("220 *")
		p.ehlo()
		p.cmd(
			"MAIL FROM:<a@example.test> SIZE=70000", "RCPT TO:<b@example.test>", "BDAT 70000 LAST",
		)
		p.send(strings.Repeat("x", 70000))
		p.expect("250 *", "250 *", "250 2.0.0 Ok: queued as Q1")
	}, c)
}
