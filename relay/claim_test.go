package relay_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// keyed is a message with an idempotency key.
func keyed(key string, change func(*relay.Message)) *relay.Message {
	m := &relay.Message{
		From: "app@example.test", To: []string{"x@a.test"}, Key: key,
		Content: strings.NewReader("From: app@example.test\n\nhi\n"),
	}
	if change != nil {
		change(m)
	}
	return m
}

// TestKeyQueuesOnce repeats messages with a key in every way.
func TestKeyQueuesOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := openSpool(t, dir)
	r := idle(t, func(c *relay.Config) { c.Spool = store })
	first, err := r.Submit(t.Context(), keyed("k", nil))
	if err != nil || first.Duplicate {
		t.Fatalf("%+v, %v", first, err)
	}
	again := func(m *relay.Message, id string, duplicate bool) {
		t.Helper()
		got, err := r.Submit(t.Context(), m)
		if err != nil || (got.QueueID == id) != duplicate || got.Duplicate != duplicate {
			t.Errorf("%+v, %v; the first was %s", got, err, id)
		}
	}
	again(keyed("k", nil), first.QueueID, true)
	again(keyed("k", func(m *relay.Message) { m.Labels = map[string]string{"a": "b"} }),
		first.QueueID, true)
	again(keyed("k2", nil), first.QueueID, false)
	again(keyed("k", func(m *relay.Message) { m.Stream = "news" }), first.QueueID, false)
	again(keyed("k", func(m *relay.Message) {
		m.Identity = &auth.Identity{User: "app@example.test"}
	}), first.QueueID, false)
	again(keyed("", nil), first.QueueID, false)
	for name, change := range map[string]func(*relay.Message){
		"content": func(m *relay.Message) {
			m.Content = strings.NewReader("From: a@b.test\n\nho\n")
		},
		"sender":    func(m *relay.Message) { m.From = "bob@example.test" },
		"recipient": func(m *relay.Message) { m.To = append(m.To, "y@a.test") },
		"notify":    func(m *relay.Message) { m.Notify = spool.NotifyNever },
	} {
		if _, err := r.Submit(
			t.Context(), keyed("k", change),
		); !errors.Is(err, relay.ErrKeyReused) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if _, err := r.SubmitIn(t.Context(), store, keyed("k", nil)); err != nil {
		t.Errorf("SubmitIn: %v", err)
	}
	if stats, _ := r.Stats(t.Context()); stats.Messages != 5 {
		t.Errorf("%d messages in the queue", stats.Messages)
	}
}

// TestKeyOutlastsTheProcess finds the key after the store was opened again.
func TestKeyOutlastsTheProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var ids []string
	for range 2 {
		store := openSpool(t, dir)
		r := idle(t, func(c *relay.Config) { c.Spool = store })
		got, err := r.Submit(t.Context(), keyed("k", nil))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, got.QueueID)
		_ = r.Close()
		_ = store.Close()
	}
	if ids[0] != ids[1] {
		t.Errorf("queued as %v", ids)
	}
}

// TestKeyAtOnce submits the same message many times at the same time.
func TestKeyAtOnce(t *testing.T) {
	t.Parallel()
	r := idle(t, func(c *relay.Config) { c.Spool = openSpool(t, t.TempDir()) })
	var mu sync.Mutex
	var wg sync.WaitGroup
	ids, fresh := map[string]bool{}, 0
	for range 20 {
		wg.Go(func() {
			got, err := r.Submit(t.Context(), keyed("k", nil))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			ids[got.QueueID] = true
			if !got.Duplicate {
				fresh++
			}
		})
	}
	wg.Wait()
	if stats, _ := r.Stats(t.Context()); len(ids) != 1 || fresh != 1 || stats.Messages != 1 {
		t.Errorf("ids %v, %d fresh, %+v", ids, fresh, stats)
	}
}

// TestKeyEnds takes the same message again after a day.
func TestKeyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := new(record)
		r := run(t, logged(t, told.add))
		for _, wait := range []time.Duration{23 * time.Hour, 2 * time.Hour, time.Hour} {
			if _, err := r.Submit(t.Context(), keyed("k", nil)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(wait)
		}
		if n := len(told.all(event.Accepted)); n != 2 {
			t.Errorf("accepted %d times", n)
		}
	})
}

// TestKeyInAStreamThatThePolicyNames repeats a message in the same session, and
// in another.
func TestKeyInAStreamThatThePolicyNames(t *testing.T) {
	w := start(t, func(c *relay.Config) {
		c.Spool = openSpool(t, t.TempDir())
		c.Policy.Message = func(_ context.Context, s *relay.Session, _ *relay.Incoming) error {
			s.Stream = "news"
			return nil
		}
	})
	seen := map[string]bool{}
	for range 2 {
		c := w.dial(t, "users")
		c.Play("C: AUTH PLAIN AGFwcEBleGFtcGxlLnRlc3QAc2VjcmV0\nS: 235 ")
		for range 2 {
			seen[c.transact("From: app@example.test\r\nIdempotency-Key: k\r\n\r\nx\r\n",
				"app@example.test", "x@a.test")] = true
		}
	}
	if len(seen) != 1 {
		t.Errorf("replies %v", seen)
	}
}

func TestKeyFaults(t *testing.T) {
	t.Parallel()
	r := idle(t, func(c *relay.Config) { c.Spool = openSpool(t, t.TempDir()) })
	for _, key := range []string{"a\nb", "é", strings.Repeat("x", 256)} {
		_, err := r.Submit(t.Context(), keyed(key, nil))
		if fault, ok := errors.AsType[*postern.FieldError](err); !ok || fault.Field != "Key" {
			t.Errorf("key %q: %v", key, err)
		}
	}
	r = idle(t, func(c *relay.Config) { c.Spool = struct{ spool.Store }{c.Spool} })
	if _, err := r.Submit(t.Context(), keyed("k", nil)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a store without keys: %v", err)
	}
}

// TestKeyOverSMTP takes the field of a submission, and leaves that of others.
func TestKeyOverSMTP(t *testing.T) {
	w := start(t, func(c *relay.Config) { c.Spool = openSpool(t, t.TempDir()) })
	content := func(key, subject string) string {
		return "From: app@example.test\r\nIdempotency-Key: " + key + "\r\nSubject: " + subject +
			"\r\n\r\nx\r\n"
	}
	c := w.dial(t, "users")
	c.Play("C: AUTH PLAIN AGFwcEBleGFtcGxlLnRlc3QAc2VjcmV0\nS: 235 ")
	first := c.transact(content("k", "one"), "app@example.test", "x@a.test")
	again := c.transact(content("k", "two"), "app@example.test", "x@a.test")
	if first != again || !strings.HasPrefix(first, "250 2.0.0") {
		t.Errorf("replies %q and %q", first, again)
	}
	if got := c.transact(content("k", "one"), "app@example.test", "y@a.test"); !strings.HasPrefix(
		got, "550 5.5.4 ",
	) {
		t.Errorf("another envelope: %q", got)
	}
	if got := c.transact(
		content("k\r\nIdempotency-Key: l", "one"), "app@example.test", "y@a.test",
	); !strings.HasPrefix(got, "550 5.6.0 ") {
		t.Errorf("two fields: %q", got)
	}
	if got := w.out.wait(t, 1)[0].content; strings.Contains(got, "Idempotency") {
		t.Errorf("sent on: %s", got)
	}
	anonymous := w.dial(t, "apps")
	for range 2 {
		anonymous.transact(content("k", "three"), "app@example.test", "x@a.test")
	}
	for _, got := range w.out.wait(t, 3)[1:] {
		if !strings.Contains(got.content, "Idempotency-Key: k\r\n") {
			t.Errorf("not sent on: %s", got.content)
		}
	}
}
