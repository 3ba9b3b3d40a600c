package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// TestNotBeforeAndExpires sends no sooner than NotBefore, and gives up at
// Expires.
func TestNotBeforeAndExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := new(record)
		r := run(t, logged(t, told.add))
		begun := time.Now()
		send := func(to string, start, end time.Duration) {
			m := keyed("", func(m *relay.Message) { m.To = []string{to} })
			if start != 0 {
				m.NotBefore = begun.Add(start)
			}
			if end != 0 {
				m.Expires = begun.Add(end)
			}
			if _, err := r.Submit(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		send("ok@now.test", -time.Hour, 0)
		send("ok@later.test", 72*time.Hour, 0)
		send("never@a.test", 0, 10*time.Minute)
		send("never@b.test", time.Hour, 2*time.Hour)
		send("never@c.test", time.Hour, 0)
		time.Sleep(100 * time.Hour)
		got := map[string]time.Duration{}
		for _, e := range told.all(event.Delivered, event.Expired) {
			got[e.To[0]+" "+e.Kind.String()] = e.Time.Sub(begun).Round(time.Minute)
		}
		want := map[string]time.Duration{
			"ok@now.test delivered": 0, "ok@later.test delivered": 72 * time.Hour,
			"never@a.test expired": 10 * time.Minute, "never@b.test expired": 2 * time.Hour,
			"never@c.test expired": 49 * time.Hour, // Retry.Expires after NotBefore
		}
		for k, w := range want {
			if g, ok := got[k]; !ok || g != w {
				t.Errorf("%s after %v, want %v; all %v", k, g, w, got)
			}
		}
	})
}

// TestDelayCountsFromNotBefore has a message that may go out in three days fail
// at first: its sender hears of a delay when it has waited since then.
func TestDelayCountsFromNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := new(record)
		r := run(t, logged(t, told.add))
		begun := time.Now()
		m := keyed("", func(m *relay.Message) { m.To = []string{"never@later.test"} })
		m.NotBefore = begun.Add(72 * time.Hour)
		if _, err := r.Submit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		time.Sleep(80 * time.Hour)
		for _, e := range told.all(event.Deferred) {
			if e.Report != "" {
				if after := e.Time.Sub(begun).Round(time.Hour); after != 76*time.Hour {
					t.Errorf("told of the delay after %v", after)
				}
				return
			}
		}
		t.Error("nobody was told of the delay")
	})
}

func TestTimesAndStreamFaults(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := idle(t, nil)
	for _, tt := range []struct {
		notBefore, expires time.Duration // from now; 0 is not set
		want               string
	}{
		{-time.Hour, 0, ""},
		{time.Hour, 2 * time.Hour, ""},
		{0, -time.Second, "Expires"},
		{2 * time.Hour, time.Hour, "Expires"},
		{time.Hour, time.Hour, "Expires"},
		{0, 400 * 24 * time.Hour, "Expires"},
		{400 * 24 * time.Hour, 0, "NotBefore"},
	} {
		m := keyed("", nil)
		if tt.notBefore != 0 {
			m.NotBefore = now.Add(tt.notBefore)
		}
		if tt.expires != 0 {
			m.Expires = now.Add(tt.expires)
		}
		_, err := r.Submit(t.Context(), m)
		fault, ok := errors.AsType[*postern.FieldError](err)
		if ok != (tt.want != "") || ok && fault.Field != tt.want {
			t.Errorf("%v to %v: %v", tt.notBefore, tt.expires, err)
		}
	}
	for _, stream := range []string{"a b", "a/b", strings.Repeat("x", 65)} {
		_, err := r.Submit(t.Context(), keyed("", func(m *relay.Message) { m.Stream = stream }))
		if fault, ok := errors.AsType[*postern.FieldError](err); !ok || fault.Field != "Stream" {
			t.Errorf("stream %q: %v", stream, err)
		}
	}
}

// TestStatus tells how the recipients of a message stand.
func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, logged(t, nil))
		receipt, err := r.Submit(t.Context(), keyed("", func(m *relay.Message) {
			m.To, m.Stream = []string{"ok@a.test", "never@a.test"}, "orders"
			m.Labels = map[string]string{"order": "7"}
		}))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		s, err := r.Status(t.Context(), receipt.QueueID)
		if err != nil {
			t.Fatal(err)
		}
		if s.QueueID != receipt.QueueID || s.Stream != "orders" || s.Labels["order"] != "7" ||
			s.From != "app@example.test" || s.Size == 0 || s.Accepted.IsZero() ||
			len(s.Recipients) != 1 {
			t.Fatalf("%+v", s)
		}
		w := s.Recipients[0]
		if w.Address != "never@a.test" || w.State != spool.StateWaiting || w.Attempts != 1 ||
			!w.Next.After(time.Now()) || !w.Expires.After(w.Next) || w.Enhanced != "4.2.1" ||
			!strings.Contains(w.Text, "Not now") {
			t.Errorf("%+v", w)
		}
		time.Sleep(50 * time.Hour)
		if _, err := r.Status(t.Context(), receipt.QueueID); !errors.Is(err, relay.ErrNotFound) {
			t.Errorf("later: %v", err)
		}
	})
}

// TestCancel gives each waiting recipient the fate Removed.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := new(record)
		r := run(t, logged(t, told.add))
		id := submit(t, r, "alice@example.test", "ok@a.test", "never@a.test", "never@b.test")
		time.Sleep(30 * time.Second)
		n, err := r.Cancel(t.Context(), id)
		if err != nil || n != 2 {
			t.Errorf("Cancel = %d, %v", n, err)
		}
		if _, err := r.Cancel(t.Context(), id); !errors.Is(err, relay.ErrNotFound) {
			t.Errorf("again: %v", err)
		}
		time.Sleep(50 * time.Hour)
		for _, list := range [][]event.Event{readLog(t, r, "c"), told.all()} {
			var fates []string
			for _, e := range list {
				if e.Kind.Fate() {
					fates = append(fates, e.To[0]+" "+e.Kind.String())
				}
			}
			if fmt.Sprint(fates) !=
				"[ok@a.test delivered never@a.test removed never@b.test removed]" {
				t.Errorf("fates %v", fates)
			}
		}
		if stats, _ := r.Stats(t.Context()); stats.Messages != 0 {
			t.Errorf("%+v", stats)
		}
	})
}

// TestReschedule tries at once, and not before a time.
func TestReschedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := new(record)
		r := run(t, logged(t, told.add))
		begun := time.Now()
		receipt, err := r.Submit(t.Context(), keyed("", func(m *relay.Message) {
			m.To, m.NotBefore = []string{"later1@a.test"}, begun.Add(10*time.Hour)
		}))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if err := r.Reschedule(t.Context(), receipt.QueueID, time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := len(told.all(event.Deferred)); n != 1 {
			t.Fatalf("%d attempts", n)
		}
		next := begun.Add(20 * time.Hour)
		if err := r.Reschedule(t.Context(), receipt.QueueID, next); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		e := told.all(event.Delivered)
		if len(e) != 1 || e[0].Attempt != 2 || e[0].Time.Sub(next).Abs() > time.Minute {
			t.Errorf("delivered %+v", e)
		}
	})
}

func TestRescheduleBehindTheEnd(t *testing.T) {
	t.Parallel()
	r := idle(t, func(c *relay.Config) { c.Spool = openSpool(t, t.TempDir()) })
	id := submit(t, r, "", "x@a.test")
	err := r.Reschedule(t.Context(), id, time.Now().Add(100*time.Hour))
	if _, ok := errors.AsType[*postern.FieldError](err); !ok {
		t.Errorf("Reschedule: %v", err)
	}
}

// TestOperationsLeaveWhatIsUnderWay does not take a copy from an attempt.
func TestOperationsLeaveWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := logged(t, nil)
		release := make(chan struct{})
		cfg.Transport = delivery.TransportFunc(
			func(_ context.Context, a *delivery.Attempt) []delivery.Result {
				<-release
				return []delivery.Result{{Delivered: true}}
			})
		r := run(t, cfg)
		id := submit(t, r, "", "x@a.test")
		synctest.Wait()
		s, err := r.Status(t.Context(), id)
		if err != nil || s.Recipients[0].State != spool.StateLeased {
			t.Errorf("%+v, %v", s, err)
		}
		if n, err := r.Cancel(t.Context(), id); n != 0 || !errors.Is(err, relay.ErrUnderWay) {
			t.Errorf("Cancel = %d, %v", n, err)
		}
		if err := r.Reschedule(t.Context(), id, time.Now()); !errors.Is(err, relay.ErrUnderWay) {
			t.Errorf("Reschedule: %v", err)
		}
		close(release)
		time.Sleep(time.Second)
		if got := about(readLog(t, r, "c"), id, "x@a.test"); got != "accepted/0 delivered/1" {
			t.Errorf("events %s", got)
		}
	})
}

func TestOperationsOnNothing(t *testing.T) {
	t.Parallel()
	r := idle(t, func(c *relay.Config) { c.Spool = openSpool(t, t.TempDir()) })
	plain := idle(t, func(c *relay.Config) { c.Spool = struct{ spool.Store }{c.Spool} })
	id := spool.NewID(time.Now()).String()
	for _, op := range []func(*relay.Relay, string) error{
		func(r *relay.Relay, id string) error { _, err := r.Status(t.Context(), id); return err },
		func(r *relay.Relay, id string) error { _, err := r.Cancel(t.Context(), id); return err },
		func(r *relay.Relay, id string) error {
			return r.Reschedule(t.Context(), id, time.Now())
		},
	} {
		for _, name := range []string{id, "", "no id\n"} {
			if err := op(r, name); !errors.Is(err, relay.ErrNotFound) {
				t.Errorf("%q: %v", name, err)
			}
		}
		if err := op(plain, id); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a store without Manager: %v", err)
		}
	}
}
