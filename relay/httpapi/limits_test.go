package httpapi_test

import (
	"context"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/httpapi"
)

// TestRawLimit takes what is as large as the limit allows, wherever the line
// ends lie in what is read at once.
func TestRawLimit(t *testing.T) {
	const limit = 64 << 10
	for _, head := range []string{"Subject: x\r\n\r\n", "Subject: xy\r\n\r\n"} {
		room := limit - len(head)
		content := head + strings.Repeat("x", room%2) + strings.Repeat("\r\n", room/2)
		for more, want := range map[string]int{"": 202, "x": 413} {
			w := newWorld(t, func(w *world) { w.users.Limits.MaxMessageBytes = limit })
			if a := w.do(raw("from=app@example.com&to=a@example.net",
				content+more)); a.Status != want {
				t.Errorf("%q and %d octets: %+v", head, len(more), a)
			}
			if a := w.do(chunked(raw("from=app@example.com&to=a@example.net",
				content+more))); a.Status != want {
				t.Errorf("%q and %d octets of unknown length: %+v", head, len(more), a)
			}
		}
	}
}

func TestMessageRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.users.Limits.MessageRate = 2 })
		for i, want := range []int{202, 202, 429} {
			if a := w.do(post(simple)); a.Status != want {
				t.Fatalf("message %d: %d %s", i, a.Status, a.Body)
			}
		}
		a := w.do(post(simple))
		if a.SMTP.Code != 421 || a.SMTP.Enhanced != "4.4.2" || a.Header.Get("Retry-After") != "60" {
			t.Fatalf("%s %v", a.Body, a.Header)
		}
		time.Sleep(time.Minute)
		if a := w.do(post(simple)); a.Status != 202 {
			t.Fatalf("after a minute: %d", a.Status)
		}
	})
}

// TestTarpit: refusals are held back, but not when the client has gone, and not
// being asked to log on.
func TestTarpit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world) {
			w.users.Limits.Tarpit, w.users.Limits.AuthTarpit = 3*time.Second, 7*time.Second
		})
		took := func(r *http.Request, status int) time.Duration {
			t.Helper()
			start := time.Now()
			if a := w.do(r); a.Status != status {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
			return time.Since(start)
		}
		if d := took(basic(post(simple), "app", "wrong"), 401); d != 7*time.Second {
			t.Errorf("bad credentials took %v", d)
		}
		if d := took(post(simple, "Authorization", ""), 401); d != 0 {
			t.Errorf("the challenge took %v", d)
		}
		if d := took(basic(post(simple), "down", "x"), 503); d != 0 {
			t.Errorf("a failing verifier took %v", d)
		}
		if d := took(post(`{"from":"bob@example.com","to":["a@example.net"]}`), 403); d != 0 {
			t.Errorf("a user's refusal took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if d := took(basic(post(simple), "app", "wrong").WithContext(ctx), 401); d != time.Second {
			t.Errorf("after the client had gone it took %v", d)
		}
	})
}

// TestHarvest: guessing recipients costs an anonymous client time for each.
func TestHarvest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world) {
			w.http.Connector = "printers"
			w.cfg.Connectors[1].Limits.Tarpit = 2 * time.Second
		})
		start := time.Now()
		r := from(
			post(
				`{"from":"p@example.net","to":["x@example.com",`+
					`"y@example.com","alice@example.com"]}`,
				"Authorization", "",
			),
			"198.51.100.7:9",
		)
		if a := w.do(r); a.Status != 422 || len(a.Errors) != 2 ||
			time.Since(start) != 4*time.Second {
			t.Fatalf("%d %s after %v", a.Status, a.Body, time.Since(start))
		}
	})
}

// TestAtATime: a source may not have more requests under way than connections.
func TestAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.users.Limits.MaxConnectionsPerSource = 1
		w.users.Limits.MaxConnections = 2
	})
	release, entered := make(chan struct{}), make(chan struct{})
	block := func(remote string) <-chan answer {
		r := from(raw("from=app@example.com&to=bob@example.net", ""), remote)
		r.Body, r.ContentLength = io.NopCloser(blocking{entered, release}), -1
		done := make(chan answer)
		go func() { done <- w.do(r) }()
		<-entered
		return done
	}
	one := block("192.0.2.1:1")
	if a := w.do(post(simple)); a.Status != 503 || a.SMTP.Enhanced != "4.3.2" ||
		a.Header.Get("Retry-After") == "" {
		t.Fatalf("same source: %d %s", a.Status, a.Body)
	}
	two := block("[2001:db8::1]:1")
	if a := w.do(from(post(simple), "[2001:db8::2]:1")); a.Status != 503 {
		t.Fatalf("same network: %d %s", a.Status, a.Body)
	}
	if a := w.do(from(post(simple), "192.0.2.3:1")); a.Status != 503 {
		t.Fatalf("too many in all: %d %s", a.Status, a.Body)
	}
	close(release)
	if a, b := <-one, <-two; a.Status != 202 || b.Status != 202 {
		t.Fatalf("%s %s", a.Body, b.Body)
	}
	if a := w.do(post(simple)); a.Status != 202 {
		t.Fatalf("afterwards: %d %s", a.Status, a.Body)
	}
}

type blocking struct{ entered, release chan struct{} }

func (b blocking) Read([]byte) (int, error) {
	b.entered <- struct{}{}
	<-b.release
	return 0, io.EOF
}

// TestNoJSONLimit: the largest number there is does not overflow.
func TestNoJSONLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.http.MaxJSONBytes = math.MaxInt64
		w.users.Grants = []connector.Grant{
			{Principal: connector.User("app"), Rights: connector.BypassMessageSizeLimit},
		}
	})
	if a := w.do(chunked(post(simple))); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
}

// TestUnread: who may not submit is refused before the body is read, and it is
// not asked for.
func TestUnread(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.users.Limits.MaxMessageBytes = 64 << 10 })
	for _, r := range []*http.Request{
		post(simple, "Authorization", ""),
		basic(post(simple), "app", "wrong"),
		plain(post(simple)),
		raw("from=bob@example.com&to=a@example.net", letter),
		raw("from=app@example.com&to=nobody@example.com", letter),
		raw("from=app@example.com&to=a@example.net", strings.Repeat("a", 64<<10+1)),
		post(strings.Repeat(" ", 64<<10+1)),
	} {
		r.Body = io.NopCloser(unread{t})
		if a := w.do(r); a.Status < 400 {
			t.Errorf("%s: %d", r.URL, a.Status)
		}
	}
}

type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, io.EOF
}

// TestParallel: requests of many clients at once, with keys and without, for
// the race detector.
func TestParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		durable(w)
		w.users.Limits.MaxConnectionsPerSource = -1
	})
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			key := ""
			if i%2 == 0 {
				key = strconv.Itoa(i % 10)
			}
			r := post(simple, "Idempotency-Key", key)
			if i%3 == 0 {
				r = raw("from=app@example.com&to=a@example.net", letter)
			}
			if a := w.do(r); a.Status != 202 {
				t.Errorf("%d %s", a.Status, a.Body)
			}
		})
	}
	all.Wait()
	if n := httpapi.Buffered(w.handler); n != 0 {
		t.Errorf("%d octets still count as held", n)
	}
}
