package relay_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// openSpool opens a durable store with all the optional parts.
func openSpool(t *testing.T, dir string) *filespool.Store {
	t.Helper()
	s, err := filespool.Open(dir, &filespool.Options{InsecureNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// logged is a configuration with a durable log, and whose transport answers by
// the local part of the recipient.
func logged(t *testing.T, live func(event.Event)) relay.Config {
	cfg := local(newCapture(), scripted{tried: map[string]int{}, mu: new(sync.Mutex)})
	cfg.Hostname = "relay.example.test"
	cfg.Spool = openSpool(t, t.TempDir())
	cfg.EventLog.Retention = 30 * 24 * time.Hour
	cfg.Events = live
	return cfg
}

// scripted delivers, bounces and defers by the local part: "later2" is taken at
// the third attempt.
type scripted struct {
	mu    *sync.Mutex
	tried map[string]int
}

func (s scripted) Deliver(_ context.Context, a *delivery.Attempt) []delivery.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	results := make([]delivery.Result, len(a.Recipients))
	for i, r := range a.Recipients {
		s.tried[r.Address]++
		n, word := 0, r.Address[:strings.IndexByte(r.Address, '@')]
		switch _, err := fmt.Sscanf(word, "later%d", &n); {
		case word == "gone":
			results[i].Err = relay.Reject(550, "5.1.1", "No such user")
		case word == "never", err == nil && s.tried[r.Address] <= n:
			results[i].Err = relay.Defer(451, "4.2.1", "Not now")
		default:
			results[i].Delivered = true
		}
	}
	return results
}

// readLog follows the log to its end.
func readLog(t *testing.T, r *relay.Relay, consumer string) (all []event.Event) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- r.Follow(ctx, consumer, func(_ context.Context, list []event.Event) error {
			all = append(all, list...)
			return nil
		})
	}()
	synctest.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Follow: %v", err)
	}
	return all
}

// about is a line for each event of a recipient.
func about(list []event.Event, queueID, to string) string {
	var words []string
	for _, e := range list {
		if e.QueueID == queueID && slices.Contains(e.To, to) {
			words = append(words, fmt.Sprintf("%s/%d", e.Kind, e.Attempt))
		}
	}
	return strings.Join(words, " ")
}

// TestLogHoldsOneFatePerRecipient delivers, bounces, defers and expires, on
// each store.
func TestLogHoldsOneFatePerRecipient(t *testing.T) {
	t.Run("filespool", func(t *testing.T) { testFates(t, nil) })
	t.Run("memspool", func(t *testing.T) {
		testFates(t, func() spool.Store { return memspool.New(nil) })
	})
}

func testFates(t *testing.T, open func() spool.Store) {
	synctest.Test(t, func(t *testing.T) {
		told := new(record)
		cfg := logged(t, told.add)
		if open != nil {
			cfg.Spool = open()
		}
		r := run(t, cfg)
		receipt, err := r.Submit(t.Context(), &relay.Message{
			From: "alice@example.test", Stream: "orders", Labels: map[string]string{"order": "7"},
			To: []string{
				"ok@a.test", "gone@a.test", "later2@a.test", "never@a.test",
			},
			Content: strings.NewReader(text),
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Hour)
		list := readLog(t, r, "c")
		id := receipt.QueueID
		for to, want := range map[string]string{
			"ok@a.test":     "accepted/0 delivered/1",
			"gone@a.test":   "accepted/0 bounced/1",
			"later2@a.test": "accepted/0 deferred/1 delivered/3",
		} {
			if got := about(list, id, to); got != want {
				t.Errorf("%s: %s", to, got)
			}
		}
		if got := about(list, id, "never@a.test"); !strings.HasPrefix(
			got, "accepted/0 deferred/1 expired/",
		) || strings.Count(got, " ") != 2 {
			t.Errorf("never: %s", got)
		}
		checkStoredEvents(t, list, told.all(), id)
	})
}

// checkStoredEvents holds the stored events to the live ones, and reports to
// what they are about.
func checkStoredEvents(t *testing.T, stored, live []event.Event, id string) {
	t.Helper()
	byID := map[string]event.Event{}
	for _, e := range live {
		byID[e.ID] = e
	}
	reports := 0
	for _, e := range stored {
		l, ok := byID[e.ID]
		if !ok || l.Kind != e.Kind || !l.Time.Equal(e.Time) || l.Report != e.Report {
			t.Errorf("stored %+v\nlive   %+v", e, l)
		}
		if e.Stream != "orders" || (e.Labels["order"] == "7") != (e.QueueID == id) {
			t.Errorf("%+v", e)
		}
		if e.QueueID != id {
			if e.Kind == event.Accepted {
				reports++
			}
			if e.ReportOf != id || e.From != "" || e.Size == 0 {
				t.Errorf("report %+v", e)
			}
		} else if e.ReportOf != "" {
			t.Errorf("%+v", e)
		}
		if e.Kind == event.Expired && (e.Delay < 48*time.Hour || e.Report == "") {
			t.Errorf("%+v", e)
		}
	}
	if reports < 3 { // of the bounce, the delay and the expiry
		t.Errorf("%d reports", reports)
	}
}

// TestLogOff writes nothing.
func TestLogOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := logged(t, nil)
		cfg.EventLog = relay.EventLog{}
		r := run(t, cfg)
		submit(t, r, "alice@example.test", "ok@a.test", "gone@a.test")
		time.Sleep(time.Minute)
		oldest, newest, err := cfg.Spool.(spool.Log).Bounds(t.Context())
		if err != nil || oldest != newest {
			t.Errorf("the log is from %d to %d, %v", oldest, newest, err)
		}
	})
}

// TestManyRecipientsFitTheLog parts an Accepted event that is too long for a
// record.
func TestManyRecipientsFitTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := new(record)
		r := run(t, logged(t, told.add))
		var to []string
		for i := range 2000 {
			to = append(to, fmt.Sprintf("%s%d@a.test", strings.Repeat("x", 50), i))
		}
		submit(t, r, "alice@example.test", to...)
		time.Sleep(time.Minute)
		for _, list := range [][]event.Event{readLog(t, r, "c"), told.all()} {
			var accepted []string
			ids, fates := map[string]bool{}, 0
			for _, e := range list {
				if e.Kind == event.Accepted {
					accepted = append(accepted, e.To...)
					ids[e.ID] = true
				} else if e.Kind.Fate() {
					fates++
				}
			}
			if !slices.Equal(accepted, to) || len(ids) < 3 || fates != len(to) {
				t.Errorf("%d accepted in %d events, %d fates", len(accepted), len(ids), fates)
			}
		}
	})
}

// TestCommitterWritesTheLog follows a message that somebody else commits.
func TestCommitterWritesTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := logged(t, nil)
		r := run(t, cfg)
		receipt, err := r.SubmitIn(t.Context(), cfg.Spool.(spool.Committer), &relay.Message{
			From: "alice@example.test", To: []string{"ok@a.test"},
			Content: strings.NewReader(text),
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		got := about(readLog(t, r, "c"), receipt.QueueID, "ok@a.test")
		if got != "accepted/0 delivered/1" {
			t.Errorf("events %s", got)
		}
	})
}

// TestNow dates messages and events by the clock of the configuration.
func TestNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := new(record)
		cfg := logged(t, told.add)
		const ahead = -1000 * time.Hour
		cfg.Now = func() time.Time { return time.Now().Add(ahead) }
		cfg.Spool = memspool.New(nil)
		r := run(t, cfg)
		begun := time.Now()
		id := submit(t, r, "", "never@a.test")
		time.Sleep(time.Second)
		if list := told.all(); len(list) != 3 {
			t.Errorf("events %s", show(list))
		} else {
			for _, e := range list {
				if d := e.Time.Sub(begun); d < ahead || d > ahead+time.Second {
					t.Errorf("%s is dated %v ahead", e.Kind, d)
				}
			}
		}
		s, err := r.Status(t.Context(), id)
		if err != nil || s.Accepted.Sub(begun) != ahead {
			t.Errorf("%+v, %v", s, err)
		}
	})
}
