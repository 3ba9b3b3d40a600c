package relay_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestShutdownOfSessions ends a relay with an idle client, one between commands
// of a transaction and one in its content.
func TestShutdownOfSessions(t *testing.T) {
	w := start(t, nil)
	idle, busy := w.dial(t, "apps"), w.dial(t, "apps")
	busy.Play(envelope + "C: DATA\nS: 354\nC: Subject: late\nC: \nC: half\n")
	addr := w.addr("apps")
	done := make(chan error, 1)
	go func() { done <- w.relay.Shutdown(t.Context()) }()
	idle.Play("S: 421 4.3.2\nclose")
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("a listener is still open")
	}
	select {
	case err := <-done:
		t.Fatalf("Shutdown did not wait: %v", err)
	default:
	}
	busy.Play("C: .\nS: 250 2.0.0\nS: 421")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	stats, err := w.relay.Stats(t.Context())
	if err != nil || stats.Messages != 1 {
		t.Errorf("the message is not in the spool: %+v, %v", stats, err)
	}
}

// TestShutdownInTime does not wait longer than it may.
func TestShutdownInTime(t *testing.T) {
	w := start(t, nil)
	busy := w.dial(t, "apps")
	busy.Play(envelope + "C: DATA\nS: 354\nC: Subject: never\n")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.relay.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	busy.ExpectClose()
	if stats, err := w.relay.Stats(t.Context()); err != nil || stats != (spool.Stats{}) {
		t.Errorf("stats %+v, %v", stats, err)
	}
}

// TestCloseEndsShutdown cuts a long drain short.
func TestCloseEndsShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		began := make(chan struct{})
		r, err := relay.New(relay.Config{
			Hostname: "relay.example.test", Spool: memspool.New(nil),
			Transport: delivery.TransportFunc(func(
				ctx context.Context, a *delivery.Attempt,
			) []delivery.Result {
				close(began)
				<-ctx.Done()
				return nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		ran, shut := make(chan error, 1), make(chan error, 1)
		go func() { ran <- r.Run(context.Background()) }()
		submit(t, r, "", "x@elsewhere.test")
		<-began
		start := time.Now()
		go func() { shut <- r.Shutdown(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second Shutdown: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := <-shut; !errors.Is(err, context.Canceled) {
			t.Errorf("first Shutdown: %v", err)
		}
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// TestAfterTheEnd uses a relay that has ended, in each way.
func TestAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(*relay.Relay){
		"Close":    func(r *relay.Relay) { r.Close() },
		"Shutdown": func(r *relay.Relay) { r.Shutdown(context.Background()) },
		"Run": func(r *relay.Relay) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			r.Run(ctx)
		},
		"Listen, Close": func(r *relay.Relay) { r.Listen(); r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _ := config()
			r, err := relay.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			end(r)
			if err := r.Run(t.Context()); !errors.Is(err, relay.ErrClosed) {
				t.Errorf("Run: %v", err)
			}
			if err := r.Listen(); !errors.Is(err, relay.ErrClosed) {
				t.Errorf("Listen: %v", err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Serve(l); !errors.Is(err, relay.ErrClosed) {
				t.Errorf("Serve: %v", err)
			}
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Serve left the listener open: %v", err)
			}
			if err := r.Reload(cfg); !errors.Is(err, relay.ErrClosed) {
				t.Errorf("Reload: %v", err)
			}
			m := &relay.Message{To: []string{"x@elsewhere.test"}, Content: strings.NewReader(text)}
			if _, err := r.Submit(t.Context(), m); !errors.Is(err, relay.ErrClosed) {
				t.Errorf("Submit: %v", err)
			}
			if _, err := r.SubmitIn(t.Context(), &keeper{}, m); !errors.Is(err, relay.ErrClosed) {
				t.Errorf("SubmitIn: %v", err)
			}
			if err := r.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			if err := r.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// TestNothingIsLeft counts goroutines and sockets after relays that worked have
// ended.
func TestNothingIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 3 {
		s := newSink()
		cfg, w := config()
		cfg.Transport, cfg.AcceptedDomains = nil, cfg.AcceptedDomains[:1]
		cfg.SendConnectors = []*connector.SendConnector{smart("out", "*", s.addr())}
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Listen(); err != nil {
			t.Fatal(err)
		}
		w.relay = r
		ran := make(chan error, 1)
		go func() { ran <- r.Run(context.Background()) }()
		c := w.dial(t, "apps")
		c.Play(envelope + message + "S: 250")
		s.wait(t)
		w.dial(t, "in").Play("C: MAIL FROM:<x@elsewhere.test>\nS: 250\n")
		addr := w.addr("apps")
		r.Close()
		if err := <-ran; err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Errorf("the port is not free: %v", err)
		} else {
			l.Close()
		}
		s.close()
	}
	deadline := time.Now().Add(time.Minute)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before {
		b := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before\n%s", n, before, b[:runtime.Stack(b, true)])
	}
}
