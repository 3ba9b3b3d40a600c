package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
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
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestDelayOnce puts a recipient's mail off until it expires, over deferrals,
// restarts and crashes.
func TestDelayOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		// hook decides when the first process dies; if it does not say, after
		// six hours. nil: never.
		hook func(h *hooked, die func())
	}{
		{"one process", nil},
		{"restart", func(*hooked, func()) {}},
		{"crash before the step", func(h *hooked, die func()) {
			h.commit = func(_ context.Context, c spool.Commit) error {
				if len(c.Settle) > 0 {
					die()
				}
				return nil
			}
		}},
		{"crash after the step", func(h *hooked, die func()) {
			h.after = func(c spool.Commit) {
				if len(c.Settle) > 0 {
					die()
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				dir, later := t.TempDir(), t.TempDir()
				box, events := newCapture(), new(record)
				cfg := local(box, delivery.Mailbox(func(
					context.Context, domains.Address, *delivery.Attempt,
				) error {
					return &delivery.Error{
						Op: delivery.OpRcpt, Host: "mx.elsewhere.test [192.0.2.1]:25",
						Reply: delivery.Reply{Code: 451, Enhanced: "4.2.1", Text: "Later"},
					}
				}))
				cfg.Events = events.add
				store := &hooked{Store: file(t, dir)}
				cfg.Spool = store
				// what the first process does from now on does not count
				die := sync.OnceFunc(func() {
					if err := os.CopyFS(later, os.DirFS(dir)); err != nil {
						t.Error(err)
					}
				})
				if tt.hook != nil {
					tt.hook(store, die)
				}
				first, stop := process(t, cfg)
				ask(t, first, 0, "app@example.test", "x@elsewhere.test", "y@elsewhere.test")
				began := time.Now()
				if tt.hook != nil {
					time.Sleep(6 * time.Hour)
					synctest.Wait()
					die()
					stop()
					box, events = newCapture(), new(record)
					cfg.Mailboxes, cfg.Events, cfg.Spool = box, events.add, file(t, later)
					_, stop = process(t, cfg)
				}
				time.Sleep(72 * time.Hour)
				synctest.Wait()
				stop()
				var delayed, failed []string
				for _, c := range box.got {
					switch actions(c.content) {
					case "delayed x@elsewhere.test 4.2.1, delayed y@elsewhere.test 4.2.1":
						delayed = append(delayed, c.content)
					case "failed x@elsewhere.test 4.4.7, failed y@elsewhere.test 4.4.7":
						failed = append(failed, c.content)
					default:
						t.Errorf("report\n%s", c.content)
					}
				}
				if len(failed) != 1 {
					t.Errorf("%d reports of failure", len(failed))
				}
				if tt.name == "restart" { // told before it
					if len(delayed) != 0 {
						t.Errorf("%d reports of delay after the restart", len(delayed))
					}
					return
				}
				if len(delayed) != 1 {
					t.Fatalf("%d reports of delay", len(delayed))
				}
				for _, want := range []string{
					"Subject: Your message is delayed\r\n",
					"Remote-MTA: dns; mx.elsewhere.test\r\n",
					"Diagnostic-Code: smtp; 451 4.2.1 Later\r\n",
					"Will-Retry-Until: " + began.Add(48*time.Hour).Format(
						"Mon, 2 Jan 2006 15:04:05 -0700",
					) + "\r\n",
				} {
					if !strings.Contains(delayed[0], want) {
						t.Errorf("no %q in\n%s", want, delayed[0])
					}
				}
				var told []event.Event
				for _, e := range events.all(event.Deferred) {
					if e.Report != "" {
						told = append(told, e)
					}
				}
				if tt.name == "crash after the step" {
					return // whoever told of it is gone
				}
				if len(told) != 2 || told[0].Report != told[1].Report {
					t.Fatalf("events %s", show(told))
				}
				if age := told[0].Time.Sub(began); tt.hook == nil &&
					(age < 4*time.Hour || age > 4*time.Hour+11*time.Minute) {
					t.Errorf("told after %v", age)
				}
			})
		})
	}
}

// process runs a relay until it is told to stop, and closes its store.
func process(t *testing.T, cfg relay.Config) (*relay.Relay, func()) {
	t.Helper()
	cfg.Hostname = "relay.example.test"
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return r, func() {
		t.Helper()
		cancel()
		if err := errors.Join(<-done, cfg.Spool.Close()); err != nil {
			t.Error(err)
		}
	}
}

func file(t *testing.T, dir string) *filespool.Store {
	t.Helper()
	s, err := filespool.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDelayWanted lets messages wait that nobody is told of, or not yet.
func TestDelayWanted(t *testing.T) {
	for _, tt := range []struct {
		name   string
		from   string
		notify spool.Notify
		delay  time.Duration
		want   time.Duration // 0: never
	}{
		{"default", "app@example.test", 0, 0, 4 * time.Hour},
		{"asked", "app@example.test", spool.NotifyDelay, time.Hour, time.Hour},
		{
			"short", "app@example.test", spool.NotifyDelay | spool.NotifyFailure, time.Second,
			3 * time.Hour,
		},
		{"switched off", "app@example.test", spool.NotifyDelay, -1, 0},
		{"after the expiry", "app@example.test", spool.NotifyDelay, 48 * time.Hour, 0},
		{"null sender", "", spool.NotifyDelay, 0, 0},
		{"never", "app@example.test", spool.NotifyNever, 0, 0},
		{"others", "app@example.test", spool.NotifyFailure | spool.NotifySuccess, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				events := new(record)
				cfg := local(newCapture(), delivery.Mailbox(func(
					context.Context, domains.Address, *delivery.Attempt,
				) error {
					return relay.Defer(451, "4.2.1", "Later")
				}))
				cfg.Events = events.add
				cfg.Retry.DelayNotification = tt.delay
				if tt.name == "short" { // the first deferral there is
					cfg.Retry.Schedule = []time.Duration{3 * time.Hour}
				}
				r := run(t, cfg)
				began := time.Now()
				ask(t, r, tt.notify, tt.from, "x@elsewhere.test")
				time.Sleep(72 * time.Hour)
				synctest.Wait()
				var told []time.Duration
				for _, e := range events.all(event.Deferred) {
					if e.Report != "" {
						told = append(told, e.Time.Sub(began))
					}
				}
				if tt.want == 0 && len(told) == 0 {
					return
				}
				if tt.want == 0 || len(told) != 1 || told[0] < tt.want ||
					told[0] > tt.want*11/10+11*time.Minute {
					t.Errorf("told after %v, want %v", told, tt.want)
				}
			})
		})
	}
}

// TestDelayOfClients lets mail of clients wait. What a stranger says of itself
// may be forged, so it has to ask for the report.
func TestDelayOfClients(t *testing.T) {
	for _, tt := range []struct {
		connector string
		notify    spool.Notify
		want      int // reports: 1 of failure, 2 of delay too
	}{
		{"strangers", 0, 1},
		{"strangers", spool.NotifyDelay | spool.NotifyFailure, 2},
		{"hosts", 0, 2},
		{"hosts", spool.NotifyFailure, 1},
	} {
		t.Run(fmt.Sprint(tt.connector, " ", tt.notify), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				back := newCapture()
				cfg := local(delivery.Mailbox(func(
					context.Context, domains.Address, *delivery.Attempt,
				) error {
					return relay.Defer(451, "4.2.1", "Later")
				}), back)
				client := connector.MustParseRange("192.0.2.7")
				strangers := connector.FromInternet("strangers")
				strangers.RemoteIPRanges = []connector.Range{client}
				strangers.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:25")}
				hosts := connector.AnonymousRelay("hosts", client)
				hosts.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.2:25")}
				cfg.Connectors = []*connector.Connector{strangers, hosts}
				cfg.Hostname, cfg.Spool = "relay.example.test", memspool.New(nil)
				r, err := relay.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				c, err := r.OpenSession(
					t.Context(), tt.connector,
					relay.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:1"), Protocol: "HTTP"},
				)
				if err != nil {
					t.Fatal(err)
				}
				m := &relay.Message{
					From: "victim@elsewhere.test", To: []string{"alice@example.test"},
					Content: strings.NewReader("Subject: hi\n\nbody\n"), Notify: tt.notify,
				}
				if _, err := c.Submit(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				cfg.Connectors = nil // nothing is to listen
				if err := r.Reload(cfg); err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- r.Run(ctx) }()
				time.Sleep(72 * time.Hour)
				synctest.Wait()
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
				var got []string
				for _, m := range back.got {
					got = append(got, actions(m.content))
				}
				want := []string{
					"delayed alice@example.test 4.2.1", "failed alice@example.test 4.4.7",
				}[2-tt.want:]
				if !slices.Equal(got, want) {
					t.Errorf("reports %q, want %q", got, want)
				}
			})
		})
	}
}
