package smtpd_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestConnectRefused(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.dial("192.0.2.66:1")
		p.Expect("554 5.7.1 Listed")
		p.ExpectClose()
		stranger := r.dial("198.51.100.1:1")
		stranger.ExpectClose()
	})
}

// A running session keeps the settings it began with.
func TestApply(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.client()
		p.Expect("220 mx.example.test *")
		c := open()
		c.FQDN = "new.example.test"
		next := &recorder{}
		r.server.Apply(settingsFor(t, next, c))
		q := r.client()
		q.Expect("220 new.example.test *")
		p.Say("HELO a", "MAIL FROM:<a@example.test>", "RCPT TO:<b@example.test>", "DATA", ".")
		p.Expect("250 mx.example.test *", "250 *", "250 *", "354 *", "250 2.0.0 Ok: queued as Q1")
		if len(r.backend.taken()) != 1 || len(next.taken()) != 0 {
			t.Error("the session went over to the new settings")
		}
	})
}

// What a session shows the backend, before and after TLS and AUTH.
func TestSession(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		w := &watcher{recorder: r.backend}
		r.server.Apply(settingsFor(t, w, open()))
		p := r.client()
		p.Expect("220 *")
		p.Say("HELO first", "MAIL FROM:<a@example.test>", "RSET", "STARTTLS")
		p.Expect("250 *", "250 *", "250 *", "220 *")
		p.Handshake(nil)
		p.EHLO()
		p.Say("AUTH PLAIN AGFsaWNlAHNlY3JldA==", "MAIL FROM:<a@example.test> SIZE=7 "+
			"BODY=8BITMIME RET=HDRS ENVID=a+2Bb AUTH=x@example.test",
			"RCPT TO:<b@example.test> NOTIFY=DELAY ORCPT=rfc822;b+2Bc@example.test", "BDAT 0 LAST")
		p.Expect("235 *", "250 *", "250 *", "250 *")
		seen := []string{
			"mail helo=first esmtp=false tls=false user= any=false",
			"mail helo=client.test esmtp=true tls=true user=alice any=true",
		}
		if got := strings.Join(w.seen, "\n"); got != strings.Join(seen, "\n") {
			t.Errorf("got\n%s", got)
		}
		m := r.backend.taken()[0].mail
		rc := m.Recipients[0]
		got := fmt.Sprintln(
			m.Size, m.Body, m.Return, m.EnvelopeID, *m.Auth, rc.Notify, rc.Original, rc.Value,
		)
		want := "7 8BITMIME HDRS a+b x@example.test DELAY rfc822;b+c@example.test kept\n"
		if got != want {
			t.Errorf("got %q", got)
		}
	})
}
