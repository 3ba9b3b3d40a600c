package relay_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// panicOrExit panics, or ends the goroutine if there is nothing to panic with.
func panicOrExit(v any) {
	if v == nil {
		failNow(new(testing.T))
	}
	panic(v)
}

func failNow(t *testing.T) { t.FailNow() }

// A function of the application that panics, ends its goroutine, or never
// returns, answers "not now", and the log has the stack of a panic.
func TestCallbacksThatFail(t *testing.T) {
	never := make(chan struct{})
	type (
		session = relay.Session
		address = domains.Address
	)
	for name, fail := range map[string]func(){
		"panics":        func() { panic("boom") },
		"ends":          func() { panicOrExit(nil) },
		"never returns": func() { <-never },
	} {
		for stage, set := range map[string]func(cfg *relay.Config, f func()){
			"connect": func(cfg *relay.Config, f func()) {
				cfg.Policy.Connect = func(context.Context, *session) error { f(); return nil }
			},
			"auth": func(cfg *relay.Config, f func()) {
				cfg.Policy.Auth = func(context.Context, *session) error { f(); return nil }
			},
			"mail": func(cfg *relay.Config, f func()) {
				cfg.Policy.Mail = func(context.Context, *session, address) error { f(); return nil }
			},
			"rcpt": func(cfg *relay.Config, f func()) {
				cfg.Policy.Rcpt = func(context.Context, *session, address, address) error {
					f()
					return nil
				}
			},
			"message": func(cfg *relay.Config, f func()) {
				cfg.Policy.Message = func(context.Context, *session, *relay.Incoming) error {
					f()
					return nil
				}
			},
			"verifier": func(cfg *relay.Config, f func()) {
				cfg.Verifier = auth.VerifierFunc(
					func(context.Context, auth.Proof) (*auth.Identity, error) {
						f()
						return nil, nil
					})
			},
			"quota": func(cfg *relay.Config, f func()) { cfg.Quota = quotaFunc(f) },
			"recipients": func(cfg *relay.Config, f func()) {
				cfg.AcceptedDomains[0].Recipients = domains.ResolverFunc(
					func(context.Context, address) (bool, error) { f(); return true, nil })
			},
		} {
			t.Run(stage+" "+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) { failingCallback(t, name, fail, set) })
			})
		}
	}
	close(never)
}

// quotaFunc is a Quota.
type quotaFunc func()

func (f quotaFunc) Spend(context.Context, *auth.Identity) error { f(); return nil }

func failingCallback(
	t *testing.T, name string, fail func(), set func(*relay.Config, func()),
) {
	log, release := new(logs), make(chan struct{})
	cfg := local(newCapture(), newCapture())
	cfg.Hostname, cfg.Spool, cfg.Logger = "relay.example.test", memspool.New(nil), log.logger()
	cfg.TLS = certificate(t)
	cfg.Connectors = []*connector.Connector{bind(connector.Submission("users"), "127.0.0.1")}
	cfg.Verifier = auth.VerifierFunc(func(
		context.Context, auth.Proof,
	) (*auth.Identity, error) {
		return &auth.Identity{User: "app@example.test"}, nil
	})
	set(&cfg, func() {
		if name == "never returns" {
			<-release
			return
		}
		fail()
	})
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = admitted(t, r)
	e, ok := errors.AsType[*relay.ReplyError](err)
	if took := time.Since(began); !ok || !e.Temporary() || took > time.Minute {
		t.Errorf("%v after %v", err, took)
	}
	for _, word := range []string{"panic=boom", "callbacks_test.go"} {
		if s := log.String(); name == "panics" && !strings.Contains(s, word) {
			t.Errorf("no %s in the log %s", word, s)
		}
	}
	if s, err := r.Stats(t.Context()); err != nil || s != (spool.Stats{}) {
		t.Errorf("queued: %+v, %v", s, err)
	}
	close(release)
	if err := r.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// admitted logs on and submits a message, and returns the first error.
func admitted(t *testing.T, r *relay.Relay) error {
	c, err := r.OpenSession(t.Context(), "users", inTLS())
	if err != nil {
		return err
	}
	app := auth.Proof{Mechanism: auth.Plain, Username: "app@example.test", Password: "secret"}
	if err := c.Authenticate(t.Context(), app); err != nil {
		return err
	}
	_, err = c.Submit(t.Context(), &relay.Message{
		From: "app@example.test", To: []string{"alice@example.test"},
		Content: strings.NewReader(text),
	})
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		err = all.Unwrap()[0]
	}
	return err
}

// A Transport that never returns is left alone when its time is over, the
// message waits for another attempt, and other mail goes on.
func TestTransportThatNeverReturns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		box, told, release := newCapture(), new(record), make(chan struct{})
		cfg := local(box, delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			if a.Number == 1 {
				<-release
			}
			return a.All(delivery.Result{Delivered: true})
		}))
		cfg.Events = told.add
		r := run(t, cfg)
		for range 100 {
			submit(t, r, "", "x@elsewhere.test")
		}
		submit(t, r, "", "alice@example.test")
		box.wait(t, 1)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := len(told.all(event.Deferred)); n != 100 {
			t.Errorf("%d deferred", n)
		}
		if n := len(told.all(event.Delivered)); n != 101 {
			t.Errorf("%d delivered", n)
		}
		close(release)
	})
}

// A log whose handler panics changes nothing.
func TestLogPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		box := newCapture()
		cfg := local(box, newCapture())
		cfg.Logger = slog.New(stuckHandler{func() { panic("boom") }})
		r := run(t, cfg)
		submit(t, r, "", "alice@example.test")
		box.wait(t, 1)
	})
}

// A store that panics at the end of an attempt costs that attempt only.
func TestStorePanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, box := new(logs), newCapture()
		store := &hooked{Store: memspool.New(nil)}
		first := true
		store.settle = func(spool.Settlement) error {
			if first {
				first = false
				panic("boom")
			}
			return nil
		}
		cfg := local(box, newCapture())
		cfg.Spool, cfg.Logger = store, log.logger()
		r := run(t, cfg)
		submit(t, r, "", "alice@example.test")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		box.wait(t, 2)
		if s, err := r.Stats(t.Context()); err != nil || s != (spool.Stats{}) {
			t.Errorf("left in the queue: %+v, %v", s, err)
		}
		for _, word := range []string{"panic=boom", "callbacks_test.go"} {
			if s := log.String(); !strings.Contains(s, word) {
				t.Errorf("no %s in the log %s", word, s)
			}
		}
	})
}

// A reader of content that panics leaves nothing in the store.
func TestContentPanics(t *testing.T) {
	aborted := 0
	store := &counting{Store: memspool.New(nil), aborted: &aborted}
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.test", Spool: store, Transport: newCapture(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	func() {
		defer func() {
			if v := recover(); v != "boom" {
				t.Errorf("recovered %v", v)
			}
		}()
		_, _ = r.Submit(t.Context(), &relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: io.MultiReader(strings.NewReader(text), panicReader{}),
		})
	}()
	if aborted != 1 {
		t.Errorf("%d writers given up", aborted)
	}
}

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("boom") }

// counting counts the messages that are given up.
type counting struct {
	spool.Store
	aborted *int
}

func (c *counting) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	w, err := c.Store.Create(ctx, id)
	return &countingWriter{w, c.aborted}, err
}

type countingWriter struct {
	spool.Writer
	aborted *int
}

func (w *countingWriter) Abort() error { *w.aborted++; return w.Writer.Abort() }
