package relay_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
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

func (h stuckHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h stuckHandler) Handle(context.Context, slog.Record) error { h.block(); return nil }

func (h stuckHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h stuckHandler) WithGroup(string) slog.Handler { return h }

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
				case <-time.After(50 * time.Second):
					t.Fatal("Run has not returned")
				}
				if d := time.Since(began); d > 25*time.Second { // on a busy machine too
					t.Errorf("it took %v", d)
				}
			})
		}
	}
}

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
