package httpapi_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/httpapi"
)

func TestMemoryKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		k := httpapi.NewKeys(2, time.Hour)
		claim := func(key, want string, wantErr error) {
			t.Helper()
			o, err := k.Claim(ctx, key)
			if !errors.Is(err, wantErr) || want == "" != (o == nil) ||
				o != nil && o.QueueID != want {
				t.Fatalf("%s: %v, %v; want %q, %v", key, o, err, want, wantErr)
			}
		}
		settle := func(key, id string) {
			t.Helper()
			var o *httpapi.Outcome
			if id != "" {
				o = &httpapi.Outcome{QueueID: id}
			}
			if err := k.Settle(ctx, key, o); err != nil {
				t.Fatal(err)
			}
		}
		claim("a", "", nil)
		claim("a", "", httpapi.ErrInProgress)
		settle("a", "")
		claim("a", "", nil)
		settle("a", "1")
		claim("a", "1", nil)
		settle("a", "2") // against the contract, but not the end of the world
		claim("a", "2", nil)
		time.Sleep(time.Minute)
		claim("b", "", nil)
		settle("b", "3")
		claim("c", "", nil)
		settle("c", "4") // a makes room
		claim("b", "3", nil)
		claim("c", "4", nil)
		claim("a", "", nil)
		settle("a", "")
		time.Sleep(time.Hour)
		claim("b", "", nil)
		claim("c", "", nil)
	})
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
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
	w := newWorld(t, nil)
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

// TestIdempotencyAtOnce: of two requests at the same time one goes on.
func TestIdempotencyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const query = "from=app@example.com&to=bob@example.net"
	b := blocking{make(chan struct{}), make(chan struct{})}
	r := raw(query, "", "Idempotency-Key", "k")
	r.Body, r.ContentLength = io.NopCloser(b), -1
	done := make(chan answer)
	go func() { done <- w.do(r) }()
	<-b.entered
	if a := w.do(raw(query, "", "Idempotency-Key", "k")); a.Status != 409 ||
		a.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	close(b.release)
	a := <-done
	if again := w.do(raw(query, "", "Idempotency-Key", "k")); a.Status != 202 ||
		again.QueueID != a.QueueID {
		t.Errorf("%+v, then %+v", a, again)
	}
}

type brokenKeys struct{ claim, settle error }

func (k brokenKeys) Claim(context.Context, string) (*httpapi.Outcome, error) { return nil, k.claim }
func (k brokenKeys) Settle(context.Context, string, *httpapi.Outcome) error  { return k.settle }

func TestKeysFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.http.Keys = brokenKeys{claim: errDown} })
	if a := w.do(post(simple, "Idempotency-Key", "k")); a.Status != 503 ||
		strings.Contains(a.Body, "secret") || len(w.queued()) != 0 {
		t.Errorf("claim: %d %s", a.Status, a.Body)
	}
	w = newWorld(t, func(w *world) { w.http.Keys = brokenKeys{settle: errDown} })
	if a := w.do(post(simple, "Idempotency-Key", "k")); a.Status != 202 ||
		!strings.Contains(w.log.String(), "idempotency keys failed") {
		t.Errorf("settle: %d %s", a.Status, a.Body)
	}
}

func BenchmarkKeys(b *testing.B) {
	k := httpapi.NewKeys(1000, 0)
	for i := range b.N {
		key := strconv.Itoa(i)
		k.Claim(b.Context(), key)
		k.Settle(b.Context(), key, &httpapi.Outcome{QueueID: key})
	}
}
