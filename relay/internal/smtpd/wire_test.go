package smtpd_test

import (
	"strings"
	"testing"
	"time"
)

// A client that does not read its replies is let go.
func TestWriteDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.client()
		p.Expect("220 *")
		p.Say("NOOP")
		time.Sleep(2 * time.Minute)
		p.ExpectClose()
	})
}

// Replies to pipelined commands leave in one write, and so does an EHLO reply.
func TestRepliesLeaveTogether(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.client()
		p.Expect("220 *")
		p.EHLO()
		if n := p.server.writes.Load(); n != 2 {
			t.Errorf("banner and EHLO took %d writes, want 2", n)
		}
		p.Send(strings.Repeat("NOOP\r\n", 50))
		for range 50 {
			p.Expect("250 *")
		}
		p.Send(
			"MAIL FROM:<a@example.test>\r\n" + strings.Repeat(
				"RCPT TO:<b@example.test>\r\n", 20,
			) + "DATA\r\n",
		)
		p.Expect("250 *")
		for range 20 {
			p.Expect("250 *")
		}
		p.Expect("354 *")
		if n := p.server.writes.Load(); n != 4 {
			t.Errorf("two batches took %d writes, want 2", n-2)
		}
	})
}

// Content reaches the backend in the blocks in which it arrived.
func TestContentInBlocks(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		b := &blocks{recorder: r.backend}
		r.server.Apply(settingsFor(t, b, open()))
		p := r.client()
		p.Expect("220 *")
		p.EHLO()
		p.begin()
		p.Say("DATA")
		p.Expect("354 *")
		const size = 1 << 20
		p.Send(strings.Repeat(strings.Repeat("x", 76)+"\r\n..\r\n", size/82) + ".\r\n")
		p.Expect("250 *")
		if want := size / 82 * 81; b.octets != want {
			t.Errorf("%d octets, want %d", b.octets, want)
		}
		if most := size/(32<<10) + 10; b.writes > most {
			t.Errorf("%d writes, want at most %d", b.writes, most)
		}
	})
}
