package relay_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// A panic in Events changes nothing for the client, Submit, delivery and the
// other events.
func TestEventsPanic(t *testing.T) {
	for _, k := range []event.Kind{event.Accepted, event.Attempted, event.Delivered} {
		t.Run(k.String(), func(t *testing.T) {
			log, told := new(logs), newEvents()
			w := start(t, func(cfg *relay.Config) {
				cfg.Logger = log.logger()
				cfg.Events = func(e event.Event) {
					told.add(e)
					if e.Kind == k {
						panic("boom")
					}
				}
			})
			w.dial(t, "apps").Play(strings.Repeat(envelope+message+"S: 250 2.0.0\n", 2))
			submit(t, w.relay, "", "x@elsewhere.test")
			w.out.wait(t, 3)
			if err := w.relay.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if s, err := w.relay.Stats(t.Context()); err != nil || s != (spool.Stats{}) {
				t.Errorf("left in the queue: %+v, %v", s, err)
			}
			if n := len(told.all(event.Delivered)); n != 3 {
				t.Errorf("%d of 3 Delivered events", n)
			}
			s := log.String()
			if strings.Count(s, "panic=boom") != 3 || !strings.Contains(s, "callbacks_test.go") {
				t.Errorf("log %s", s)
			}
		})
	}
}

// Events that ends its goroutine, as t.FailNow does, gets the other events all
// the same.
func TestEventsEndsItsGoroutine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := 0
		cfg := local(newCapture(), newCapture())
		cfg.Events = func(event.Event) {
			n++
			panicOrExit(nil)
		}
		r := run(t, cfg)
		for range 3 {
			submit(t, r, "", "x@elsewhere.test")
		}
		synctest.Wait()
		if n != 9 { // Accepted, Attempted, Delivered
			t.Errorf("%d events", n)
		}
	})
}

// An Events that never returns holds up neither mail nor, for long, the end.
func TestEventsBlock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		box, release := newCapture(), make(chan struct{})
		cfg := local(box, newCapture())
		cfg.Hostname, cfg.Spool = "relay.example.test", memspool.New(nil)
		cfg.Events = func(event.Event) { <-release }
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() { ran <- r.Run(context.Background()) }()
		for range 100 {
			submit(t, r, "", "alice@example.test")
		}
		box.wait(t, 100)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		err = r.Shutdown(ctx)
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("it took %v", d)
		}
		if !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), " 300 events") {
			t.Errorf("Shutdown: %v", err)
		}
		if got := <-ran; !errors.Is(got, err) {
			t.Errorf("Run: %v", got)
		}
		close(release)
	})
}

// Events that find no room are dropped and counted. Refusals, which strangers
// make, leave room for what happens to mail.
func TestEventsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, release, total := new(logs), make(chan struct{}), 0
		kinds := map[event.Kind]int{}
		cfg := local(newCapture(), newCapture())
		cfg.Logger = log.logger()
		in := bind(connector.New("in", connector.Internet), "127.0.0.1")
		cfg.Connectors = []*connector.Connector{in}
		cfg.Hostname, cfg.Spool = "relay.example.test", memspool.New(nil)
		cfg.Events = func(e event.Event) {
			<-release
			kinds[e.Kind]++
			total++
		}
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		stranger := relay.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:1"), Protocol: "TEST"}
		const refused, accepted = 30_000, 5_000
		for range refused {
			c, err := r.OpenSession(t.Context(), "in", stranger)
			if err != nil {
				t.Fatal(err)
			}
			if c.Refuse(t.Context(), "data", relay.Reject(550, "5.7.1", "no")) == nil {
				t.Fatal("not refused")
			}
		}
		for range accepted {
			submit(t, r, "", "alice@example.test")
		}
		time.Sleep(time.Minute)
		submit(t, r, "", "alice@example.test")
		close(release)
		if err := r.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if kinds[event.Accepted] != accepted+1 {
			t.Errorf("%d of %d Accepted events", kinds[event.Accepted], accepted+1)
		}
		if n := kinds[event.Rejected]; n < 10_000 || n > 16_384 {
			t.Errorf("%d of %d Rejected events", n, refused)
		}
		dropped := 0
		for line := range strings.Lines(log.String()) {
			if _, n, ok := strings.Cut(line, " dropped="); ok {
				var d int
				fmt.Sscan(n, &d)
				dropped += d
			}
		}
		if dropped+total != refused+accepted+1 {
			t.Errorf("%d events, %d dropped by the log", total, dropped)
		}
	})
}

// Delivery does not wait for the commit to return, and Accepted comes first
// none the less.
func TestAcceptedComesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		box, told := newCapture(), new(record)
		store := &hooked{Store: memspool.New(nil), wake: make(chan struct{}, 1)}
		store.after = func(spool.Commit) {
			store.wake <- struct{}{}
			box.wait(t, 1)
			synctest.Wait()
		}
		cfg := local(box, newCapture())
		cfg.Spool, cfg.Events = store, told.add
		r := run(t, cfg)
		submit(t, r, "", "alice@example.test")
		synctest.Wait()
		var kinds []event.Kind
		for _, e := range told.all() {
			kinds = append(kinds, e.Kind)
		}
		if fmt.Sprint(kinds) != "[accepted attempted delivered]" {
			t.Errorf("events %v", kinds)
		}
	})
}

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

// Whatever does not return, Shutdown, Close and Run do, soon after their limit.
// The error names what was left.
func TestEndKeepsItsLimit(t *testing.T) {
	for name, set := range map[string]func(cfg *relay.Config, block func()){
		"Transport": func(cfg *relay.Config, block func()) {
			cfg.Transport = delivery.TransportFunc(
				func(context.Context, *delivery.Attempt) []delivery.Result { block(); return nil })
		},
		"Recipients": func(cfg *relay.Config, block func()) {
			cfg.AcceptedDomains[0].SkipLookup = true
			first := true
			cfg.AcceptedDomains[0].Recipients = domains.ResolverFunc(
				func(context.Context, domains.Address) (bool, error) {
					if first {
						first = false
						return false, errors.New("not now")
					}
					block()
					return true, nil
				})
		},
		"Resolver": func(cfg *relay.Config, block func()) {
			cfg.Transport, cfg.SendConnectors = nil, []*connector.SendConnector{
				{Name: "out", AddressSpaces: []connector.AddressSpace{{Domain: "*"}}},
			}
			cfg.Resolver = stuckResolver{block: block}
		},
		"Events": func(cfg *relay.Config, block func()) {
			cfg.Events = func(event.Event) {
				block()
			}
		},
		"log": func(cfg *relay.Config, block func()) { cfg.Logger = slog.New(stuckHandler{block}) },
		"store": func(cfg *relay.Config, block func()) {
			settle := func(spool.Settlement) error { block(); return nil }
			cfg.Spool = &hooked{Store: cfg.Spool, settle: settle}
		},
	} {
		for how, end := range map[string]func(*relay.Relay, context.CancelFunc) error{
			"Shutdown": func(r *relay.Relay, _ context.CancelFunc) error {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				return r.Shutdown(ctx)
			},
			"Close": func(r *relay.Relay, _ context.CancelFunc) error { return r.Close() },
			"Run":   func(_ *relay.Relay, cancel context.CancelFunc) error { cancel(); return nil },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				bubble(t, func(t *testing.T) { endWhileStuck(t, name, set, end) })
			})
		}
	}
}

type stuckResolver struct {
	delivery.Resolver
	block func()
}

func (r stuckResolver) LookupMX(
	context.Context, string,
) (a delivery.Answer[*net.MX], err error) {
	r.block()
	return a, nil
}

type stuckHandler struct{ block func() }

func (h stuckHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (h stuckHandler) Handle(context.Context, slog.Record) error { h.block(); return nil }
func (h stuckHandler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h stuckHandler) WithGroup(string) slog.Handler             { return h }

func endWhileStuck(
	t *testing.T, name string, set func(*relay.Config, func()),
	end func(*relay.Relay, context.CancelFunc) error,
) {
	release := make(chan struct{})
	cfg := local(newCapture(), newCapture())
	cfg.Hostname, cfg.Spool, cfg.DrainTimeout = "relay.example.test", memspool.New(
		nil,
	), 5*time.Second
	set(&cfg, func() { <-release })
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	for _, to := range []string{"x@elsewhere.test", "alice@example.test"} {
		go r.Submit(context.Background(), &relay.Message{
			From: "app@example.test", To: []string{to}, Content: strings.NewReader(text),
		})
	}
	synctest.Wait()
	began := time.Now()
	err = end(r, cancel)
	got := <-ran
	if err == nil {
		err = got
	}
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("it took %v", took)
	}
	if name == "log" {
		close(release)
		return // it holds up Submit alone, which the relay does not wait for
	}
	if err == nil || !strings.Contains(err.Error(), " left behind: ") || got == nil {
		t.Errorf("error %v, Run: %v", err, got)
	}
	close(release)
}

// The relay may be shut down by what it calls.
func TestShutdownFromCallbacks(t *testing.T) {
	for name, set := range map[string]func(cfg *relay.Config, stop func()){
		"Events": func(cfg *relay.Config, stop func()) {
			cfg.Events = func(event.Event) {
				stop()
			}
		},
		"Transport": func(cfg *relay.Config, stop func()) {
			cfg.Transport = delivery.TransportFunc(
				func(_ context.Context, a *delivery.Attempt) []delivery.Result {
					stop()
					return a.All(delivery.Result{Delivered: true})
				})
		},
		"Policy": func(cfg *relay.Config, stop func()) {
			cfg.Policy.Mail = func(context.Context, *relay.Session, domains.Address) error {
				stop()
				return nil
			}
		},
		"log": func(cfg *relay.Config, stop func()) { cfg.Logger = slog.New(stuckHandler{stop}) },
		"store": func(cfg *relay.Config, stop func()) {
			settle := func(spool.Settlement) error { stop(); return nil }
			cfg.Spool = &hooked{Store: cfg.Spool, settle: settle}
		},
		"TLS": func(cfg *relay.Config, stop func()) {
			served := certificate(t)
			cfg.TLS = &tls.Config{GetConfigForClient: func(
				*tls.ClientHelloInfo,
			) (*tls.Config, error) {
				stop()
				return served, nil
			}}
		},
	} {
		for how, end := range map[string]func(*relay.Relay) error{
			"Shutdown": func(r *relay.Relay) error {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				return r.Shutdown(ctx)
			},
			"Shutdown without a limit": func(r *relay.Relay) error {
				return r.Shutdown(context.Background())
			},
			"Close": func(r *relay.Relay) error { return r.Close() },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				cfg, w := config()
				ready := make(chan *relay.Relay, 1)
				var stopped atomic.Bool
				set(&cfg, func() {
					if stopped.CompareAndSwap(false, true) {
						if err := end(<-ready); err != nil {
							t.Error(err)
						}
					}
				})
				r, err := relay.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if name == "log" {
					ready <- r
				}
				if err := r.Listen(); err != nil {
					t.Fatal(err)
				}
				w.relay = r
				ran := make(chan error, 1)
				began := time.Now()
				go func() { ran <- r.Run(context.Background()) }()
				if name != "log" {
					// smtp.SendMail goes on with STARTTLS where it is offered.
					go send(w.addr("apps"), nil, "app@example.test", "x@elsewhere.test")
					ready <- r
				}
				select {
				case err := <-ran:
					if err != nil && !errors.Is(err, context.Canceled) &&
						!errors.Is(err, relay.ErrClosed) {
						t.Error(err)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("Run has not returned")
				}
				if d := time.Since(began); d > 5*time.Second {
					t.Errorf("it took %v", d)
				}
			})
		}
	}
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

// A lock that the application holds around Submit and takes in Events is no
// deadlock.
func TestSubmitInsideALock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var lock sync.Mutex
		told := new(record)
		cfg := local(newCapture(), newCapture())
		cfg.Events = func(e event.Event) {
			lock.Lock()
			defer lock.Unlock()
			told.add(e)
		}
		r := run(t, cfg)
		lock.Lock()
		submit(t, r, "", "alice@example.test")
		lock.Unlock()
		synctest.Wait()
		if n := len(told.all()); n != 3 {
			t.Errorf("%d events", n)
		}
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

// A Reload that the log holds up does not hold up the end.
func TestEndDuringReload(t *testing.T) {
	release := make(chan struct{})
	block := new(atomic.Bool)
	cfg, _ := config()
	cfg.Logger = slog.New(stuckHandler{func() {
		if block.Load() {
			<-release
		}
	}})
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	block.Store(true)
	bound := *cfg.Connectors[0]
	bound.Bindings = append(slices.Clone(bound.Bindings), netip.MustParseAddrPort("127.0.0.6:0"))
	cfg.Connectors = append([]*connector.Connector{&bound}, cfg.Connectors[1:]...)
	reloaded := make(chan error, 1)
	go func() { reloaded <- r.Reload(cfg) }()
	for len(r.Addrs("apps")) < 2 {
		runtime.Gosched()
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
}
