package pgspool_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
)

// Of two processes on one database one gets the events. The other takes over
// where that one ended, soon after.
func TestFollowInTwoProcesses(t *testing.T) {
	url := server.Database(t)
	heard := make(chan string, 100)
	var stops []func()
	var relays []*relay.Relay
	for i := range 2 {
		r, err := relay.New(relay.Config{
			Hostname: "relay.example.test", Spool: open(t, url),
			EventLog: relay.EventLog{Retention: time.Hour},
		})
		ok(t, err)
		t.Cleanup(func() { _ = r.Close() })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- r.Follow(ctx, "c", func(_ context.Context, events []event.Event) error {
				for _, e := range events {
					heard <- fmt.Sprint(i, " ", e.Labels["n"])
				}
				return nil
			})
		}()
		stop := func() { cancel(); ok(t, <-done) }
		stops, relays = append(stops, stop), append(relays, r)
		if i == 0 { // it is first
			submit(t, r, "a")
			wantsHeard(t, heard, "0 a")
		}
	}
	submit(t, relays[1], "b")
	wantsHeard(t, heard, "0 b")
	stops[0]()
	began := time.Now()
	submit(t, relays[0], "c")
	wantsHeard(t, heard, "1 c")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("taken over after %v", took)
	}
	stops[1]()
}

func submit(t *testing.T, r *relay.Relay, name string) {
	t.Helper()
	_, err := r.Submit(t.Context(), &relay.Message{
		From: "a@example.test", To: []string{"b@example.net"},
		Labels:  map[string]string{"n": name},
		Content: strings.NewReader("Subject: x\n\nx\n"),
	})
	ok(t, err)
}

func wantsHeard(t *testing.T, heard <-chan string, want string) {
	t.Helper()
	select {
	case got := <-heard:
		if got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%q was not heard", want)
	}
}
