package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/httpapi"
	"github.com/postern-mail/postern/relay/spool"
)

func TestIdempotency(t *testing.T) {
	t.Parallel()
	w := newWorld(t, durable)
	first := w.do(post(simple, "Idempotency-Key", "order 1"))
	again := w.do(post(simple, "Idempotency-Key", "order 1"))
	if first.Status != 202 || again.Status != 202 || first.QueueID != again.QueueID {
		t.Fatalf("%+v, then %+v", first, again)
	}
	if n := len(w.queued()); n != 1 {
		t.Fatalf("%d messages in the queue", n)
	}
	other := w.do(post(strings.Replace(simple, "hi", "ho", 1), "Idempotency-Key", "order 1"))
	if other.Status != 422 || other.SMTP.Code != 0 {
		t.Errorf("another body: %d %s", other.Status, other.Body)
	}
	if a := w.do(
		basic(
			post(`{"from":"","to":["bob@example.net"]}`, "Idempotency-Key", "order 1"),
			"bob@example.org", "secret",
		),
	); a.Status != 400 {
		t.Errorf("another user: %d %s", a.Status, a.Body)
	}
	if a := w.do(post(simple, "Idempotency-Key", "order 2")); a.Status != 202 ||
		a.QueueID == first.QueueID {
		t.Errorf("another key: %+v", a)
	}
}

func TestIdempotencyRaw(t *testing.T) {
	t.Parallel()
	w := newWorld(t, durable)
	const query = "from=app@example.com&to=bob@example.net"
	first := w.do(raw(query, letter, "Idempotency-Key", "k"))
	again := w.do(chunked(raw(query, letter, "Idempotency-Key", "k")))
	if first.Status != 202 || again.Status != 202 || first.QueueID != again.QueueID ||
		len(w.queued()) != 1 {
		t.Fatalf("%+v, then %+v", first, again)
	}
	if a := w.do(raw(query, letter+"x", "Idempotency-Key", "k")); a.Status != 422 {
		t.Errorf("another body: %+v", a)
	}
	if a := w.do(raw(query+"&to=c@example.net", letter, "Idempotency-Key", "k")); a.Status != 422 {
		t.Errorf("another recipient: %+v", a)
	}
	if a := w.do(post(simple, "Idempotency-Key", "k")); a.Status != 422 {
		t.Errorf("another type: %+v", a)
	}
	if a := w.do(broken(raw(query, letter, "Idempotency-Key", "k"))); a.Status != 413 &&
		a.Status != 503 {
		t.Errorf("broken body: %+v", a)
	}
}

// TestIdempotencyOfRefusals: only success is remembered.
func TestIdempotencyOfRefusals(t *testing.T) {
	t.Parallel()
	refuse := true
	w := newWorld(t, func(w *world) {
		durable(w)
		w.cfg.Policy.Message = func(context.Context, *relay.Session, *relay.Incoming) error {
			if refuse {
				return relay.Defer(451, "4.7.1", "Later")
			}
			return nil
		}
	})
	for i, want := range []int{503, 503, 202, 202} {
		refuse = i < 2
		if a := w.do(post(simple, "Idempotency-Key", "k")); a.Status != want {
			t.Fatalf("request %d: %d %s", i, a.Status, a.Body)
		}
	}
	if n := len(w.queued()); n != 1 {
		t.Fatalf("%d messages in the queue", n)
	}
}

// TestIdempotencyAtOnce: of two requests at the same time one queues the
// message, and both have its id.
func TestIdempotencyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, durable)
	const query = "from=app@example.com&to=bob@example.net"
	b := blocking{make(chan struct{}), make(chan struct{})}
	r := raw(query, "", "Idempotency-Key", "k")
	r.Body, r.ContentLength = io.NopCloser(b), -1
	done := make(chan answer)
	go func() { done <- w.do(r) }()
	<-b.entered
	first := w.do(raw(query, "", "Idempotency-Key", "k"))
	close(b.release)
	if second := <-done; first.Status != 202 || second.Status != 202 ||
		first.QueueID != second.QueueID {
		t.Errorf("%+v, and %+v", first, second)
	}
	if n := len(w.queued()); n != 1 {
		t.Errorf("%d messages in the queue", n)
	}
}

// TestIdempotencyOutlastsTheHandler: the keys are in the spool.
func TestIdempotencyOutlastsTheHandler(t *testing.T) {
	t.Parallel()
	w := newWorld(t, durable)
	first := w.do(post(simple, "Idempotency-Key", "k"))
	handler, err := httpapi.New(w.http)
	if err != nil {
		t.Fatal(err)
	}
	w.handler = handler
	if again := w.do(post(simple, "Idempotency-Key", "k")); again.QueueID != first.QueueID {
		t.Errorf("%+v, then %+v", first, again)
	}
}

// A store without keys cannot promise anything.
func TestIdempotencyWithoutKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.Spool = struct{ spool.Store }{w.cfg.Spool} })
	if a := w.do(post(simple, "Idempotency-Key", "k")); a.Status != 503 || len(w.queued()) != 0 {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if a := w.do(post(simple)); a.Status != 202 {
		t.Errorf("without a key: %d %s", a.Status, a.Body)
	}
}

// TestStreamAndTimes are those of the message, however it comes.
func TestStreamAndTimes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	start, end := time.Now().Add(time.Hour).UTC(), time.Now().Add(2*time.Hour).UTC()
	fields := `"stream":"news","not_before":"` + start.Format(time.RFC3339) + `","expires":"` +
		end.Format(time.RFC3339) + `"`
	query := url.Values{
		"stream": {"news"}, "not_before": {start.Format(time.RFC3339)},
		"expires": {end.Format(time.RFC3339)}, "from": {"app@example.com"},
		"to": {"bob@example.net"},
	}
	for _, r := range []*http.Request{
		post(`{"from":"app@example.com","to":["bob@example.net"],` + fields + `}`),
		raw(query.Encode(), letter),
	} {
		if a := w.do(r); a.Status != 202 {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	if n := len(w.queued()); n != 0 {
		t.Errorf("%d messages are due", n)
	}
	for _, fields := range []string{
		`"stream":"a b"`, `"not_before":"tomorrow"`, `"expires":"1999-12-31T00:00:00Z"`,
		`"expires":7`,
	} {
		a := w.do(post(`{"from":"app@example.com","to":["bob@example.net"],` + fields + `}`))
		if a.Status != 400 {
			t.Errorf("%s: %d %s", fields, a.Status, a.Body)
		}
	}
}
