package relay_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
)

// TestStreamOfASession is what a Policy says, and is on the events of the
// message and of its refusal.
func TestStreamOfASession(t *testing.T) {
	var stream atomic.Value
	stream.Store("printers")
	w := start(t, func(c *relay.Config) {
		c.Policy.Connect = func(_ context.Context, s *relay.Session) error {
			s.Stream, _ = stream.Load().(string)
			return nil
		}
	})
	c := w.dial(t, "apps")
	c.transact("Subject: x\r\n\r\nx\r\n", "a@b.test", "x@elsewhere.test")
	for _, k := range []event.Kind{event.Accepted, event.Attempted, event.Delivered} {
		if e := w.events.wait(t, kind(k)); e.Stream != "printers" || e.ID == "" {
			t.Errorf("%+v", e)
		}
	}
	c.Play("C: MAIL FROM:<a@b.test>\nS: 250 \nC: RCPT TO:<nobody@example.test>\nS: 550 ")
	if e := w.events.wait(t, kind(event.Rejected)); e.Stream != "printers" || e.ID == "" {
		t.Errorf("%+v", e)
	}
	stream.Store("no stream")
	got := w.dial(t, "apps").transact("Subject: x\r\n\r\nx\r\n", "a@b.test", "x@elsewhere.test")
	if !strings.HasPrefix(got, "451 4.3.0") {
		t.Errorf("reply %q", got)
	}
}

// TestStreamOfAMessageIsItsOwn does not hand the stream of one message of a
// session on to the next.
func TestStreamOfAMessageIsItsOwn(t *testing.T) {
	t.Parallel()
	r := admitting(t, func(c *relay.Config) {
		c.Policy.Connect = func(_ context.Context, s *relay.Session) error {
			s.Stream = "web"
			return nil
		}
	})
	c, err := r.OpenSession(t.Context(), "users", inTLS())
	if err != nil {
		t.Fatal(err)
	}
	proof := auth.Proof{Mechanism: auth.Plain, Username: "app", Password: "secret"}
	if err := c.Authenticate(t.Context(), proof); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ stream, want string }{
		{"", "web"}, {"news", "news"}, {"", "web"},
	} {
		m := keyed("", func(m *relay.Message) { m.Stream = tt.stream })
		receipt, err := c.Submit(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.Status(t.Context(), receipt.QueueID)
		if err != nil || s.Stream != tt.want {
			t.Errorf("stream %q became %+v (%v)", tt.stream, s, err)
		}
	}
}
