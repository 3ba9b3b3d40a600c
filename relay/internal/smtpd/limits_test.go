package smtpd_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

func TestConnectionLimits(t *testing.T) {
	c := open()
	c.Limits.MaxConnections = 3
	c.Limits.MaxConnectionsPerSource = 2
	bubble(t, func(t *testing.T, r *rig) {
		one := r.dial("192.0.2.7:1")
		one.Expect("220 *")
		two := r.dial("192.0.2.7:2")
		two.Expect("220 *")
		refused := r.dial("192.0.2.7:3")
		refused.Expect("421 4.3.2 * per-source limit*")
		refused.ExpectClose()
		other := r.dial("192.0.2.8:1")
		other.Expect("220 *")
		// The counts outlive a change of the settings.
		r.server.Apply(r.settings)
		full := r.dial("192.0.2.9:1")
		full.Expect("421 4.3.2 The maximum number of concurrent connections has exceeded a limit*")
		full.ExpectClose()
		one.Say("QUIT")
		one.Expect("221 *")
		one.ExpectClose()
		synctest.Wait()
		again := r.dial("192.0.2.7:4")
		again.Expect("220 *")
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
			if s, err := p.Line(); err == nil && s[:3] == "220" {
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
			p.Expect(step.want)
			p.Close()
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
			_, _ = p.Line()
			p.Close()
			if i%2 == 0 {
				q := r.dial(fmt.Sprintf("192.0.2.%d:1", 8+i/2%50))
				q.Expect("220 *")
				q.Close()
			}
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Minute)
		r.client().Expect("220 *")
		if n := r.server.Sources("test"); n != 1 {
			t.Errorf("%d sources are known", n)
		}
	}, c)
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
		a.Expect("220 *")
		b := r.dial("[2001:db8::2]:1")
		b.Expect("421 *")
		b.Close()
		other := r.dial("[2001:db8:0:1::2]:1")
		other.Expect("220 *")
	}, c)
}

// The sessions held back are bounded: one more is answered at once.
func TestTarpitIsBounded(t *testing.T) {
	c := open()
	c.Limits.Tarpit = time.Minute
	bubble(t, func(t *testing.T, r *rig) {
		var all []*client
		for range smtpd.MaxPaused + 1 {
			p := r.client()
			p.Expect("220 *")
			p.Say("HELO a", "MAIL FROM:<refused@example.test>")
			p.Expect("250 *")
			all = append(all, p)
			synctest.Wait()
		}
		all[smtpd.MaxPaused].Expect("550 *")
		began := time.Now()
		all[0].Expect("550 *")
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
		p.Expect("220 *")
		p.EHLO()
		p.Say(
			"MAIL FROM:<a@example.test> SIZE=70000", "RCPT TO:<b@example.test>", "BDAT 70000 LAST",
		)
		p.Send(strings.Repeat("x", 70000))
		p.Expect("250 *", "250 *", "250 2.0.0 Ok: queued as Q1")
	}, c)
}
