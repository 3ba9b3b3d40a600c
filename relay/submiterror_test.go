package relay_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestSubmitNamesFieldAndValue holds each fault of a message to its field.
func TestSubmitNamesFieldAndValue(t *testing.T) {
	t.Parallel()
	r := idle(t, nil)
	for want, change := range map[string]func(*relay.Message){
		`From: "a b" `:        func(m *relay.Message) { m.From = "a b" },
		`To: `:                func(m *relay.Message) { m.To = nil },
		`To[1]: <c d>`:        func(m *relay.Message) { m.To = append(m.To, "c d") },
		`Content: `:           func(m *relay.Message) { m.Content = nil },
		`Return: "ALL" `:      func(m *relay.Message) { m.Return = "ALL" },
		`EnvelopeID: "a\nb" `: func(m *relay.Message) { m.EnvelopeID = "a\nb" },
		`Labels: `: func(m *relay.Message) {
			m.Labels = map[string]string{"a": strings.Repeat("x", 1024)}
		},
	} {
		m := &relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(text),
		}
		change(m)
		_, err := r.Submit(t.Context(), m)
		fault, ok := errors.AsType[*postern.FieldError](err)
		if !ok || !strings.HasPrefix(fault.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// failingStore fails where it is told to.
type failingStore struct {
	spool.Store
	create, write, commit error
}

func (s failingStore) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	w, err := s.Store.Create(ctx, id)
	return failingWriter{w, s}, errors.Join(err, s.create)
}

type failingWriter struct {
	spool.Writer
	s failingStore
}

func (w failingWriter) Write(p []byte) (int, error) {
	if w.s.write != nil {
		return 0, w.s.write
	}
	return w.Writer.Write(p)
}

func (w failingWriter) Commit(ctx context.Context, c spool.Commit) error {
	if w.s.commit != nil {
		return w.s.commit
	}
	return w.Writer.Commit(ctx, c)
}

// TestSubmitTellsTheStoreFromTheReader holds errors of the store to their
// class.
func TestSubmitTellsTheStoreFromTheReader(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, store := range map[string]failingStore{
		"create": {create: spool.ErrFull}, "write": {write: spool.ErrFull},
		"commit": {commit: spool.ErrFull},
	} {
		store.Store = memspool.New(nil)
		r := idle(t, func(c *relay.Config) { c.Spool = store })
		_, err := r.Submit(t.Context(), &relay.Message{
			To: []string{"x@elsewhere.test"}, Content: strings.NewReader("From: a@b.test\n\nb\n"),
		})
		if !errors.Is(err, relay.ErrStore) || !errors.Is(err, spool.ErrFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := idle(t, nil).Submit(t.Context(), &relay.Message{
		To: []string{"x@elsewhere.test"}, Content: &failing{"From: a@b.test\n\nb", broken},
	})
	if !errors.Is(err, broken) || errors.Is(err, relay.ErrStore) {
		t.Errorf("the reader's: %v", err)
	}
}

func TestSubmitUnderPressure(t *testing.T) {
	t.Parallel()
	r := idle(t, func(c *relay.Config) {
		c.Pressure = relay.Pressure{QueueMedium: 1, QueueHigh: 1}
	})
	m := func() *relay.Message {
		return &relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(text),
		}
	}
	if _, err := r.Submit(t.Context(), m()); err != nil {
		t.Fatal(err)
	}
	r.Load(t.Context())
	_, err := r.Submit(t.Context(), m())
	refusal, ok := errors.AsType[*relay.ReplyError](err)
	if !errors.Is(err, relay.ErrPressure) || !ok || !refusal.Temporary() {
		t.Errorf("Submit: %v", err)
	}
}

// TestLabelsOfASessionAreBounded refuses for now what a Policy and an identity
// put on a message, when it is too much for an event.
func TestLabelsOfASessionAreBounded(t *testing.T) {
	long := strings.Repeat("x", 600)
	w := start(t, func(c *relay.Config) {
		c.Policy.Connect = func(_ context.Context, s *relay.Session) error {
			s.Labels = map[string]string{"a": long, "b": long}
			return nil
		}
	})
	c := w.dial(t, "apps")
	got := c.transact("Subject: x\r\n\r\nx\r\n", "a@b.test", "x@elsewhere.test")
	if !strings.HasPrefix(got, "451 4.3.0") {
		t.Errorf("reply %q", got)
	}
	e := w.events.wait(t, kind(event.Rejected))
	if !strings.Contains(e.Reason, "1 KiB") || e.Labels != nil {
		t.Errorf("event %+v", e)
	}
	_, err := w.relay.Submit(t.Context(), &relay.Message{
		To: []string{"x@elsewhere.test"}, Content: strings.NewReader("From: a@b.test\n\nb\n"),
		Labels:   map[string]string{"a": long},
		Identity: &auth.Identity{User: "a@b.test", Labels: map[string]string{"b": long}},
	})
	fault, ok := errors.AsType[*postern.FieldError](err)
	if !ok || fault.Field != "Labels" {
		t.Errorf("Submit: %v", err)
	}
}
