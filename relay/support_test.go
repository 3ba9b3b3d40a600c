package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// say sends one line; \0, \n and \r stand for the octets.

// hooked is a store whose operations can be made to fail or to wait.
type hooked struct {
	spool.Store
	commit func(context.Context, spool.Commit) error // before the commit
	after  func(spool.Commit)                        // after it, before the caller learns of it
	settle func(spool.Settlement) error
	create func(spool.ID) error
	wake   chan struct{}
}

func (h *hooked) Wake() <-chan struct{} { return h.wake }

func (h *hooked) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	if h.create != nil {
		if err := h.create(id); err != nil {
			return nil, err
		}
	}
	w, err := h.Store.Create(ctx, id)
	if err != nil {
		return nil, err
	}
	return &hookedWriter{w, h}, nil
}

func (h *hooked) Settle(ctx context.Context, s spool.Settlement) error {
	if h.settle != nil {
		if err := h.settle(s); err != nil {
			return err
		}
	}
	return h.Store.Settle(ctx, s)
}

type hookedWriter struct {
	spool.Writer
	h *hooked
}

func (w *hookedWriter) Commit(ctx context.Context, c spool.Commit) error {
	if w.h.commit != nil {
		if err := w.h.commit(ctx, c); err != nil {
			w.Writer.Abort()
			return err
		}
	}
	err := w.Writer.Commit(ctx, c)
	if err == nil && w.h.after != nil {
		w.h.after(c)
	}
	return err
}

// record keeps events in order.
type record struct {
	mu   sync.Mutex
	list []event.Event
}

func (r *record) add(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, e)
}

func (r *record) all(match ...event.Kind) []event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []event.Event
	for _, e := range r.list {
		if len(match) == 0 || slices.Contains(match, e.Kind) {
			out = append(out, e)
		}
	}
	return out
}

func (e *events) all(k event.Kind) []event.Event {
	if e.told != nil {
		e.told(context.Background())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []event.Event
	for _, ev := range e.list {
		if ev.Kind == k {
			out = append(out, ev)
		}
	}
	return out
}

// logs is a log in memory.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// run starts a relay without sockets, for tests on a clock of their own.
func run(t *testing.T, cfg relay.Config) *relay.Relay {
	t.Helper()
	if cfg.Hostname == "" {
		cfg.Hostname = "relay.example.test"
	}
	if cfg.Spool == nil {
		cfg.Spool = memspool.New(nil)
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// bubble runs a test on a clock of its own.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// inOneMinute waits for the next minute if this one is about to end: messages
// are counted by the minute.
func inOneMinute() {
	now := time.Now()
	if next := now.Truncate(time.Minute).Add(time.Minute); next.Sub(now) < 10*time.Second {
		time.Sleep(next.Sub(now))
	}
}

// submit queues a short message.
func submit(t *testing.T, r *relay.Relay, from string, to ...string) string {
	t.Helper()
	receipt, err := r.Submit(
		t.Context(), &relay.Message{From: from, To: to, Content: strings.NewReader(text)},
	)
	if err != nil {
		t.Fatal(err)
	}
	return receipt.QueueID
}

// local is a configuration whose example.test is delivered to mailboxes.
func local(mailboxes, out delivery.Transport) relay.Config {
	return relay.Config{
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.test", Recipients: domains.StaticRecipients("alice", "bob", "app")},
		},
		Mailboxes: mailboxes,
		Transport: out,
	}
}

// bind gives a connector a free port of a loopback address.
func bind(c *connector.Connector, ip string) *connector.Connector {
	c.Bindings = []netip.AddrPort{netip.MustParseAddrPort(ip + ":0")}
	c.Limits.Tarpit, c.Limits.AuthTarpit = -1, -1
	return c
}

func show(list []event.Event) string {
	var b strings.Builder
	for _, e := range list {
		fmt.Fprintf(&b, "\n%s %s %v %d %s %q", e.Kind, e.Stage, e.To, e.Code, e.Enhanced, e.Text)
	}
	return b.String()
}
