package relay_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
)

// lines returns those of the log at Info with this message.
func (l *logs) lines(msg string) []string {
	var out []string
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "level=INFO msg="+msg+" ") {
			out = append(out, strings.TrimSuffix(line, "\n"))
		}
	}
	return out
}

// The log has each failure for good, and the first deferral of a message, with
// what the next hop said.
func TestDeliveriesAreLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := new(logs)
		host := "mx.elsewhere.test [192.0.2.1]"
		out := func(_ context.Context, a *delivery.Attempt) []delivery.Result {
			results := make([]delivery.Result, len(a.Recipients))
			for i, r := range a.Recipients {
				switch {
				case strings.HasPrefix(r.Address, "gone"):
					results[i] = delivery.Result{
						Host: host,
						Err: &delivery.Error{
							Op: delivery.OpRcpt, Permanent: true,
							Reply: delivery.Reply{
								Code: 550, Enhanced: "5.1.1", Text: "No such user",
							},
						},
					}
				case strings.HasPrefix(r.Address, "never"):
					results[i].Err = &delivery.Error{
						Op: delivery.OpDial, Err: fmt.Errorf("no route to host"),
					}
				case a.Number < 3:
					results[i] = delivery.Result{Host: host, Err: relay.Defer(451, "4.2.1", "Busy")}
				default:
					results[i].Delivered = true
				}
			}
			return results
		}
		cfg := local(newCapture(), delivery.TransportFunc(out))
		cfg.Logger = log.logger()
		cfg.Retry.Expires = time.Hour
		r := run(t, cfg)
		const from = "app@example.test"
		id := submit(
			t, r, from, "gone@elsewhere.test", "busy@elsewhere.test", "slow@elsewhere.test",
		)
		late := submit(t, r, "", "never@elsewhere.test")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		for msg, want := range map[string][]string{
			"bounced": {"queue_id=" + id + " from=" + from +
				" to=gone@elsewhere.test attempt=1 host=\"" +
				host + "\" code=550 enhanced=5.1.1 class=unknown-recipient " +
				"reply=\"No such user\" report="},
			"deferred": {
				"queue_id=" + id + " from=" + from + " to=busy@elsewhere.test attempt=1 host=\"" +
					host + "\" enhanced=4.2.1 class=other err=Busy next=",
				"queue_id=" + late + " to=never@elsewhere.test attempt=1 enhanced=4.0.0 " +
					"class=network err=\"dial: no route to host\" next=",
			},
			"expired":   {"queue_id=" + late + " to=never@elsewhere.test attempt="},
			"delivered": {},
		} {
			got := log.lines(msg)
			if len(got) != len(want) {
				t.Errorf("%s: %d lines, want %d: %q", msg, len(got), len(want), got)
			}
			for _, w := range want {
				if !strings.Contains(strings.Join(got, "\n"), w) {
					t.Errorf("%s: no %s in %q", msg, w, got)
				}
			}
		}
		for _, w := range []string{
			"deferred queue_id=" + id + " from=" + from + " to=busy@elsewhere.test attempt=2 ",
			"delivered queue_id=" + id + " from=" + from + " to=slow@elsewhere.test attempt=3",
		} {
			if !strings.Contains(log.String(), "level=DEBUG msg="+w) {
				t.Errorf("no %s in %s", w, log)
			}
		}
		if s := log.String(); strings.Contains(s, `=""`) || strings.Contains(s, "error=") {
			t.Errorf("log %s", s)
		}
	})
}

// The log says what is listened on, and one event has a peer that no connector
// is for.
func TestListeningAndStrangersAreTold(t *testing.T) {
	log := new(logs)
	w := start(t, func(cfg *relay.Config) {
		cfg.Logger = log.logger()
		other := netip.MustParseAddrPort("127.0.0.4:0")
		none := connector.AnonymousRelay("other", connector.MustParseRange("192.0.2.1"))
		none.Bindings = []netip.AddrPort{other}
		cfg.Connectors = append(cfg.Connectors, none)
	})
	for _, name := range []string{"apps", "in", "users", "other"} {
		want := "msg=listening connector=" + name + " addresses=[" + w.addr(name) + "]"
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("no %s in %s", want, log)
		}
	}
	c, err := net.Dial("tcp", w.addr("other"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d", n)
	}
	e := w.events.wait(t, kind(event.Rejected))
	if e.Stage != "connect" || e.Code != 0 || e.Remote.String() != c.LocalAddr().String() ||
		!strings.Contains(e.Reason, "no connector") {
		t.Errorf("event %+v", e)
	}
	for _, want := range []string{
		"msg=refused stage=connect session=",
		"local=" + w.addr("other") + " remote=127.0.0.1 reason=\"no connector for the peer\"",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in %s", want, log)
		}
	}
}

// Reload tells of the connectors that it binds, and of no other.
func TestReloadTellsWhatItBinds(t *testing.T) {
	log := new(logs)
	w := start(t, func(cfg *relay.Config) { cfg.Logger = log.logger() })
	cfg, _ := config()
	cfg.Mailboxes, cfg.Transport, cfg.Events = w.mailboxes, w.out, w.events.add
	extra := bind(connector.New("extra", connector.Internet), "127.0.0.5")
	cfg.Connectors = append(cfg.Connectors, extra)
	if err := w.relay.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{"apps": 1, "in": 1, "users": 1, "extra": 1} {
		if got := strings.Count(log.String(), "msg=listening connector="+name+" "); got != n {
			t.Errorf("%s: told %d times: %s", name, got, log)
		}
	}
}

// panicky panics at every line but those about panics.
type panicky struct{ slog.Handler }

func (h panicky) Handle(ctx context.Context, r slog.Record) error {
	if !strings.HasPrefix(r.Message, "panic") {
		panic("boom")
	}
	return h.Handler.Handle(ctx, r)
}

// A log whose handler panics costs its line, and the next one tells why.
func TestLogTellsItsPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := new(logs)
		cfg := local(newCapture(), newCapture())
		cfg.Logger = slog.New(panicky{log.logger().Handler()})
		r := run(t, cfg)
		submit(t, r, "", "alice@example.test")
		synctest.Wait()
		if s := log.String(); !strings.Contains(s, "panic=boom") ||
			!strings.Contains(s, "log_test.go") {
			t.Errorf("log %s", s)
		}
	})
}
