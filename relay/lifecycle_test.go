package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
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
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before {
		b := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before\n%s", n, before, b[:runtime.Stack(b, true)])
	}
}

// TestListenFaults binds what cannot be bound: all faults are told, and nothing
// stays open.
func TestListenFaults(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := netip.MustParseAddrPort(taken.Addr().String())
	cfg, _ := config()
	cfg.Connectors[0].Bindings = append(cfg.Connectors[0].Bindings, busy)
	cfg.Connectors[1].Bindings = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:2525")}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = r.Run(t.Context())
	for _, want := range []string{"Connectors[0].Bindings[1]: ", "Connectors[1].Bindings[0]: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if got := r.Addrs("apps"); len(got) > 0 && got[0].Port() != 0 {
		if c, err := net.Dial("tcp", got[0].String()); err == nil {
			c.Close()
			t.Error("a listener stayed open")
		}
	}
	if got := r.Addrs("no such connector"); got != nil {
		t.Errorf("addresses %v", got)
	}
}

// TestHostWithoutIPv6 listens on what the host has. A connector that would be
// left without any address is a fault, and so is every other binding that
// fails.
func TestHostWithoutIPv6(t *testing.T) {
	for _, tt := range []struct {
		name     string
		bindings string // of the first connector
		cause    error  // of each IPv6 binding that fails
		want     string // the addresses without ports, or the field of the fault
	}{
		{"both families", "127.0.0.1:0 [::]:0", syscall.EAFNOSUPPORT, "127.0.0.1"},
		{"an IPv6 address", "127.0.0.1:0 [2001:db8::1]:0", syscall.EAFNOSUPPORT, "127.0.0.1"},
		{"no address set up", "[::]:0 127.0.0.1:0", syscall.EADDRNOTAVAIL, "127.0.0.1"},
		{"IPv6 alone", "[::]:0", syscall.EAFNOSUPPORT, "Connectors[0].Bindings[0]"},
		{"another's address", "127.0.0.1:0 [2001:db8::1]:0", syscall.EADDRNOTAVAIL,
			"Connectors[0].Bindings[1]"},
		{"a port in use", "127.0.0.1:0 [::]:0", syscall.EADDRINUSE, "Connectors[0].Bindings[1]"},
		{"no right to it", "127.0.0.1:0 [::]:0", syscall.EACCES, "Connectors[0].Bindings[1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := new(logs)
			cfg, _ := config()
			cfg.Logger, cfg.Connectors[0].Bindings = log.logger(), nil
			for _, s := range strings.Fields(tt.bindings) {
				cfg.Connectors[0].Bindings = append(
					cfg.Connectors[0].Bindings, netip.MustParseAddrPort(s),
				)
			}
			cfg.Listen = func(ctx context.Context, network, addr string) (net.Listener, error) {
				if network == "tcp6" {
					return nil,
						&net.OpError{Op: "listen", Net: network, Err: os.NewSyscallError("socket",
							tt.cause)}
				}
				return new(net.ListenConfig).Listen(ctx, network, addr)
			}
			r, err := relay.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			err = r.Listen()
			if e, ok := errors.AsType[*postern.FieldError](err); ok {
				if e.Field != tt.want {
					t.Errorf("%v, want %s", err, tt.want)
				}
				return
			}
			var got []string
			for _, a := range r.Addrs("apps") {
				got = append(got, a.Addr().String())
			}
			warned := strings.Contains(log.String(), "level=WARN msg=\"the host does not have")
			if err != nil || strings.Join(got, " ") != tt.want || !warned {
				t.Errorf("%v, %v\n%s", got, err, log)
			}
			if err := r.Reload(cfg); err != nil || len(r.Addrs("apps")) != 1 {
				t.Errorf("reloaded: %v, %v", r.Addrs("apps"), err)
			}
		})
	}
}

// TestReloadBindings moves, adds and removes connectors while clients come and
// go.
func TestReloadBindings(t *testing.T) {
	w := start(t, nil)
	keep := w.addr("apps")
	cfg, _ := config()
	cfg.Mailboxes, cfg.Transport, cfg.Events = w.mailboxes, w.out, w.events.add
	extra := bind(connector.New("extra", connector.Internet), "127.0.0.5")
	off := *cfg.Connectors[1]
	off.Disabled = true
	cfg.Connectors = []*connector.Connector{cfg.Connectors[0], &off, extra}
	cfg.Verifier = nil
	in := w.addr("in")
	if err := w.relay.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if w.addr("apps") != keep {
		t.Errorf("apps moved from %s to %s", keep, w.addr("apps"))
	}
	if c, err := net.Dial("tcp", in); err == nil {
		c.Close()
		t.Error("a disabled connector still listens")
	}
	w.dial(t, "apps").Play(envelope + message + "S: 250")
	w.dial(t, "extra").Play("C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<alice@example.test>\nS: 250")

	bad := cfg
	bad.Connectors = append(
		slices.Clone(cfg.Connectors), bind(connector.New("bad", connector.Internet), "192.0.2.1"),
	)
	if err := w.relay.Reload(bad); err == nil ||
		!strings.Contains(err.Error(), "Connectors[3].Bindings[0]") {
		t.Errorf("a connector that cannot be bound: %v", err)
	}
	w.dial(t, "extra").Play("C: MAIL FROM:<>\nS: 250")
}

// TestReloadUnderLoad submits, reloads and connects from many goroutines.
func TestReloadUnderLoad(t *testing.T) {
	w := start(t, func(c *relay.Config) { c.Events = nil })
	cfg, _ := config()
	cfg.Mailboxes, cfg.Transport, cfg.Events = w.mailboxes, w.out, nil
	var wg sync.WaitGroup
	const n = 20
	for i := range 3 {
		wg.Go(func() {
			for range n {
				switch i {
				case 0:
					if err := w.relay.Reload(cfg); err != nil {
						t.Error(err)
					}
				case 1:
					if err := send(
						w.addr("apps"), nil, "app@example.test", "x@elsewhere.test",
					); err != nil {
						t.Error(err)
					}
				case 2:
					_, err := w.relay.Submit(
						t.Context(),
						&relay.Message{
							To: []string{"alice@example.test"}, Content: strings.NewReader(text),
						},
					)
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	w.out.wait(t, n)
	w.mailboxes.wait(t, n)
}

// TestServeOwnListener serves connections of a listener of the application,
// until that is closed.
func TestServeOwnListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg, w := config()
	cfg.Connectors = cfg.Connectors[:1]
	cfg.Connectors[0].Bindings = []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.relay = r
	served := make(chan error, 1)
	go func() { served <- r.Serve(l) }()
	if err := send(l.Addr().String(), nil, "app@example.test", "x@elsewhere.test"); err != nil {
		t.Fatal(err)
	}
	w.out.wait(t, 1) // Serve delivers as well
	l.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve of a closed listener: %v", err)
	}
	r.Close()
}

// TestTwoRelaysApart stops one of two relays in a process; the other goes on.
func TestTwoRelaysApart(t *testing.T) {
	a, b := start(t, nil), start(t, nil)
	for range 2 {
		if err := send(b.addr("apps"), nil, "app@example.test", "x@elsewhere.test"); err != nil {
			t.Fatal(err)
		}
		a.relay.Close()
	}
	b.out.wait(t, 2)
	if n := len(a.events.all(event.Accepted)); n != 0 {
		t.Errorf("the other relay saw %d messages", n)
	}
}

// TestMaxDeliveries counts the attempts under way.
func TestMaxDeliveries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		cfg := local(newCapture(), delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Minute)
			mu.Lock()
			now--
			mu.Unlock()
			return a.All(delivery.Result{Delivered: true})
		}))
		cfg.MaxDeliveries = 3
		r := run(t, cfg)
		for range 20 {
			submit(t, r, "", "x@elsewhere.test")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if stats, err := r.Stats(t.Context()); err != nil || stats.Messages != 0 || most != 3 {
			t.Errorf("%d at once, stats %+v, %v", most, stats, err)
		}
	})
}

// TestFaultsOfTimes finds numbers that make no sense.
func TestFaultsOfTimes(t *testing.T) {
	_, err := relay.New(relay.Config{
		Hostname: "[127.0.0.1]", Spool: memspool.New(nil), MaxDeliveries: -1, DrainTimeout: -1,
		Postmaster: "no one", DefaultDomain: "a b",
		Retry: delivery.Retry{
			Schedule: []time.Duration{time.Minute, 0}, Expires: time.Millisecond,
			DelayNotification: time.Millisecond,
		},
	})
	for _, want := range []string{
		"Hostname:", "MaxDeliveries:", "DrainTimeout:", "DefaultDomain:", "Retry.Schedule[1]:",
		"Retry.Expires:", "Retry.DelayNotification:",
	} {
		if err == nil || !strings.Contains(err.Error(), "\n  "+want) {
			t.Errorf("no fault at %s in %v", want, err)
		}
	}
	_, err = relay.New(
		relay.Config{
			Hostname: "relay.example.test", Spool: memspool.New(nil), Postmaster: "no one",
		},
	)
	if f, ok := errors.AsType[*postern.FieldError](err); !ok || f.Field != "Postmaster" {
		t.Errorf("error %v", err)
	}
}

// TestPostmaster takes mail for <postmaster> without a domain on every
// connector that may submit (RFC 5321 section 4.5.1).
func TestPostmaster(t *testing.T) {
	w := start(t, func(c *relay.Config) { c.Postmaster = "Alice@example.test" })
	w.dial(t, "in").Play(
		"C: MAIL FROM:<x@elsewhere.test>\nS: 250\nC: RCPT TO:<Postmaster>\nS: 250\n" + message +
			"S: 250",
	)
	if got := w.mailboxes.wait(t, 1)[0]; got.to != "Alice@example.test" {
		t.Errorf("went to %s", got.to)
	}
	w.out.reply = func(string) error { return relay.Reject(550, "5.1.1", "no") }
	submit(t, w.relay, "bob@example.test", "x@elsewhere.test")
	if got := w.mailboxes.wait(t, 2)[1]; !strings.Contains(
		got.content, "From: Mail Delivery System <Alice@example.test>",
	) {
		t.Errorf("report %s", got.content)
	}
}

// TestErrorTypes prints and unwraps the errors of the package.
func TestErrorTypes(t *testing.T) {
	cause := errors.New("cause")
	for _, tt := range []struct {
		err       error
		text      string
		temporary bool
	}{
		{relay.Reject(550, "5.7.1", "no"), "550 5.7.1 no", false},
		{relay.Reject(250, "", "no"), "550 5.0.0 no", false},
		{relay.Defer(421, "4.7.0", "later"), "421 4.7.0 later", true},
		{relay.Defer(550, "", "later"), "451 4.0.0 later", true},
		{
			&relay.ReplyError{Code: 451, Enhanced: "4.3.0", Text: "later", Err: cause},
			"451 4.3.0 later", true,
		},
		{&delivery.Error{Op: delivery.OpDNS, Err: cause}, "dns: cause", true},
		{
			&delivery.Error{
				Op: delivery.OpData, Host: "h", Permanent: true,
				Reply: delivery.Reply{Code: 554, Enhanced: "5.6.0", Text: "no"},
			},
			"data h: 554 5.6.0 no", false,
		},
		{&postern.FieldError{Field: "Spool", Err: cause}, "Spool: cause", true},
		{&relay.RecipientError{Recipient: "a@b.test", Err: cause}, "<a@b.test>: cause", true},
	} {
		if tt.err.Error() != tt.text {
			t.Errorf("%q, want %q", tt.err, tt.text)
		}
		if e, ok := tt.err.(interface{ Temporary() bool }); ok && e.Temporary() != tt.temporary {
			t.Errorf("%v: temporary %v", tt.err, !tt.temporary)
		}
		if strings.Contains(tt.text, "cause") && !errors.Is(tt.err, cause) {
			t.Errorf("%v hides its cause", tt.err)
		}
	}
}

// TestLabelsAreApart lets a policy write the labels of its session in place
// while earlier events are still read.
func TestLabelsAreApart(t *testing.T) {
	w := start(t, func(cfg *relay.Config) {
		n := 0
		cfg.Policy.Mail = func(_ context.Context, s *relay.Session, _ domains.Address) error {
			if s.Labels == nil {
				s.Labels = map[string]string{}
			}
			n++
			s.Labels["n"] = fmt.Sprint(n)
			return nil
		}
	})
	c := w.dial(t, "apps")
	for range 3 {
		c.Play(envelope + message + "S: 250")
	}
	w.out.wait(t, 3)
	for i, e := range w.events.all(event.Accepted) {
		if e.Labels["n"] != fmt.Sprint(i+1) {
			t.Errorf("message %d has labels %v", i+1, e.Labels)
		}
	}
}
