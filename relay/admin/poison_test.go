package admin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/admin"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// crasher is a relay whose mailboxes crash at what is for bob.
type crasher struct {
	*relay.Relay
	id     string // of a message to bob and alice: bob's copy is set aside
	mended atomic.Bool
	fates  chan event.Event // bob's
}

func newCrasher(t *testing.T) *crasher {
	t.Helper()
	c := &crasher{fates: make(chan event.Event, 10)}
	aside := make(chan event.Event, 1)
	c.Relay = newRelay(t, relay.Config{
		Hostname: "relay.example.com", Spool: memspool.New(nil),
		Retry: delivery.Retry{Schedule: []time.Duration{time.Second}},
		Transport: delivery.Mailbox(func(
			_ context.Context, a domains.Address, _ *delivery.Attempt,
		) error {
			if a.Local() == "bob" && !c.mended.Load() {
				panic("no such shelf")
			}
			return nil
		}),
		Events: func(e event.Event) {
			switch {
			case e.Kind == event.Poisoned:
				aside <- e
			case e.Kind.Fate() && e.To[0] == "bob@example.net":
				c.fates <- e
			}
		},
	})
	go func() { _ = c.Run(context.WithoutCancel(t.Context())) }()
	receipt, err := c.Submit(t.Context(), &relay.Message{
		From: "app@example.com", To: []string{"bob@example.net", "alice@example.net"},
		Stream: "news", Content: strings.NewReader("Subject: Hello\n\nHello\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.id = receipt.QueueID
	await(t, aside)
	return c
}

func await(t *testing.T, events <-chan event.Event) event.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(time.Minute):
		t.Fatal("it does not happen")
	}
	return event.Event{}
}

func operateForm(path, id string, headers ...string) *http.Request {
	return request(http.MethodPost, path, url.Values{"id": {id}}.Encode(),
		append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
}

func TestPoisonIsShown(t *testing.T) {
	c := newCrasher(t)
	h := newHandler(t, admin.Config{Relay: c.Relay, Authorize: open, Operate: open})
	page := do(h, request(http.MethodGet, "/", "")).Body.String()
	checkMarkup(t, page)
	for _, want := range []string{
		c.id, "1 copies set aside", "news", `action="retry"`, `action="remove"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in %s", want, page)
		}
	}
	if strings.Contains(page, "bob@") {
		t.Error("the page shows whose the message is")
	}
	var got struct {
		Poison struct {
			Copies int
			Items  []struct {
				QueueID string `json:"queue_id"`
				Copies  int
				Crashes int
			}
		}
	}
	w := do(h, request(http.MethodGet, "/status", ""))
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if p := got.Poison; p.Copies != 1 || len(p.Items) != 1 || p.Items[0].QueueID != c.id ||
		p.Items[0].Copies != 1 || p.Items[0].Crashes != 2 {
		t.Errorf("%+v", p)
	}
}

func TestPoisonIsTriedAgainOrRemoved(t *testing.T) {
	for path, want := range map[string]event.Kind{
		"/retry": event.Delivered, "/remove": event.Removed,
	} {
		t.Run(path, func(t *testing.T) {
			c := newCrasher(t)
			h := newHandler(t, admin.Config{Relay: c.Relay, Authorize: open, Operate: open})
			c.mended.Store(true)
			if w := do(h, operateForm(path, c.id)); w.Code != 303 ||
				w.Header().Get("Location") != "./#poison" {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if e := await(t, c.fates); e.Kind != want || e.QueueID != c.id {
				t.Errorf("%+v", e)
			}
			if w := do(h, operateForm(path, c.id)); w.Code != 404 {
				t.Errorf("again: %d %s", w.Code, w.Body)
			}
		})
	}
}

// What is not set aside is not the page's, and who may only look changes
// nothing.
func TestWhoMayNotTouchTheQueue(t *testing.T) {
	c := newCrasher(t)
	looks := newHandler(t, admin.Config{Relay: c.Relay, Authorize: open})
	acts := newHandler(t, admin.Config{Relay: c.Relay, Authorize: open, Operate: open})
	waits, err := c.Submit(t.Context(), &relay.Message{
		From: "app@example.com", To: []string{"alice@example.net"},
		NotBefore: time.Now().Add(time.Hour),
		Content:   strings.NewReader("Subject: Hello\n\nHello\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/retry", "/remove"} {
		for name, tt := range map[string]struct {
			h       http.Handler
			request *http.Request
			code    int
		}{
			"who may look":  {looks, operateForm(path, c.id), 403},
			"another site":  {acts, operateForm(path, c.id, "Sec-Fetch-Site", "cross-site"), 403},
			"GET":           {acts, request(http.MethodGet, path+"?id="+c.id, ""), 405},
			"not set aside": {acts, operateForm(path, waits.QueueID), 404},
			"no queue id":   {acts, operateForm(path, "x"), 404},
			"no id":         {acts, operateForm(path, ""), 400},
		} {
			if w := do(tt.h, tt.request); w.Code != tt.code {
				t.Errorf("%s %s: %d %s", path, name, w.Code, w.Body)
			}
		}
	}
	for _, id := range []string{c.id, waits.QueueID} {
		if s, err := c.Status(t.Context(), id); err != nil || len(s.Recipients) != 1 {
			t.Errorf("%+v, %v", s, err)
		}
	}
}
