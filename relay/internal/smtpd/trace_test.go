package smtpd_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// What a client sent is told where it was malformed, in one short line. What
// may be a password is not.
func TestMalformedCommandsAreShown(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct{ line, stage, want string }{
		{"EHLO", "helo", "EHLO "},
		{"EHLO a\u202eb\x1b[2J \xff", "helo", `EHLO a\u202eb\x1b[2J \xff`},
		{"EHLO a " + long, "helo", "EHLO a " + long[:121] + "..."},
		{"MAIL FROM:<a b@c>", "mail", "MAIL FROM:<a b@c>"},
		{"mail from:<a@example.test> SIZE=x", "mail", "MAIL from:<a@example.test> SIZE=x"},
		{"MAIL FROM:<a@example.test> AUTH=secret", "mail", "MAIL FROM:<a@example.test> AUTH=..."},
		{"MAIL FROM:<a@example.test>\tauth=secret", "mail", `MAIL FROM:<a@example.test>\tauth=...`},
		{"RCPT TO:<b@>", "rcpt", "RCPT TO:<b@>"},
		{"c2VjcmV0", "helo", ""},
		{"PASS secret", "helo", ""},
		{"AUTH PLAIN c2VjcmV0", "auth", ""},
	} {
		bubble(t, func(t *testing.T, r *rig) {
			p := r.client()
			p.Expect("220 *")
			p.EHLO()
			if c.stage == "rcpt" {
				p.Say("MAIL FROM:<a@example.test>")
				p.Expect("250 *")
			}
			p.Say(c.line)
			p.Expect("5*")
			got := r.backend.refusals()
			if len(got) != 1 || got[0].Stage != c.stage || got[0].Command != c.want {
				t.Errorf("%.40q: %+v", c.line, got)
			}
		}, open())
	}
}

// A failed TLS handshake is told, with its cause.
func TestFailedHandshakeIsTold(t *testing.T) {
	for name, hello := range map[string]string{
		"no TLS": "EHLO a\r\n", "an alert": "\x15\x03\x01\x00\x02\x02\x28", "hung up": "",
	} {
		bubble(t, func(t *testing.T, r *rig) {
			p := r.client()
			p.Expect("220 *")
			p.EHLO()
			p.Say("STARTTLS")
			p.Expect("220 *")
			if hello != "" {
				p.Send(hello)
				p.Sent()
			} else {
				p.Close()
			}
			got := r.backend.refusals()
			if len(got) != 1 || got[0].Stage != "tls" || got[0].Reply.Code != 0 ||
				!strings.Contains(fmt.Sprint(got[0].Reply.Cause), "handshake") {
				t.Errorf("%s: %+v", name, got)
			}
		}, open())
	}
}

// The log has malformed commands that are taken, once for a session, and
// messages that have begun and did not arrive.
func TestOddSessionsAreLogged(t *testing.T) {
	log := new(strings.Builder)
	bubbleWith(t, func(cfg *smtpd.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	}, func(t *testing.T, r *rig) {
		p := r.client()
		p.Expect("220 *")
		p.Say(
			"HELO (none)", "HELO My Printer", "MAIL FROM:a@example.test", "RCPT TO:b@example.test",
		)
		p.Expect("250 *", "250 *", "250 *", "250 *")
		p.Close()
		synctest.Wait()
		p = r.client()
		p.Expect("220 *")
		p.Say("HELO a", "MAIL FROM:<c@example.test>", "RCPT TO:<b@example.test>", "DATA", "half")
		p.Expect("250 *", "250 *", "250 *", "354 *")
		p.Close()
		synctest.Wait()
		p = r.client()
		p.Expect("220 *")
		p.Say("HELO a", "QUIT")
		p.Expect("250 *", "221 *")
		p = r.client()
		p.Expect("220 *")
		p.Say("HELO a", "MAIL FROM:<d@example.test>", "QUIT")
		p.Expect("250 *", "250 *", "221 *")
		synctest.Wait()
	}, open())
	for _, want := range []string{
		`command="HELO (none)"`, `command="MAIL FROM:a@example.test"`,
		`command="RCPT TO:b@example.test"`,
		`helo="My Printer" stage=mail from=a@example.test recipients=1 err=`,
		"stage=data from=c@example.test recipients=1 err=",
		`stage=mail from=d@example.test recipients=0 err="the client has said QUIT"`,
	} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("want one %s in %s", want, log)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 6 {
		t.Errorf("%d lines: %s", n, log)
	}
}

// Peers that no connector is for are told of, but not every one of a flood.
func TestUnknownPeersAreTold(t *testing.T) {
	only := open()
	only.RemoteIPRanges = []connector.Range{connector.MustParseRange("192.0.2.7")}
	bubble(t, func(t *testing.T, r *rig) {
		for range 50 {
			r.dial("198.51.100.1:40000").ExpectClose()
		}
		if got := r.backend.refusals(); len(got) != 20 {
			t.Errorf("told of %d of 50", len(got))
		}
		time.Sleep(time.Second)
		r.dial("198.51.100.1:40000").ExpectClose()
		got := r.backend.refusals()
		last := got[len(got)-1]
		if len(got) != 21 || last.Stage != "connect" || last.Reply.Code != 0 ||
			!strings.Contains(last.Reply.Cause.Error(), "30 others") {
			t.Errorf("%d told, the last %+v", len(got), last)
		}
		r.client().Expect("220 *")
	}, only)
}
