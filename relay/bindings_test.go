package relay_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
)

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

// TestServeForNobody warns of a listener that no connector is bound to.
func TestServeForNobody(t *testing.T) {
	for _, bound := range []bool{true, false} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg, _ := config()
		cfg.Connectors = cfg.Connectors[:1]
		cfg.Connectors[0].Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		if bound {
			cfg.Connectors[0].Bindings[0] = netip.MustParseAddrPort(l.Addr().String())
		}
		var log logs
		cfg.Logger = log.logger()
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- r.Serve(l) }()
		l.Close()
		<-served
		r.Close()
		if got := strings.Contains(log.String(), "no connector has a binding"); got == bound {
			t.Errorf("bound: %v; the log says:\n%s", bound, log.String())
		}
	}
}
