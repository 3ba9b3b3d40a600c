package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// following is a relay that follows the log of a store.
type following struct {
	*logStore
	t     *testing.T
	relay *relay.Relay
	log   bytes.Buffer
}

func follow(t *testing.T) *following {
	f := &following{logStore: newLogStore(), t: t}
	f.open()
	return f
}

// open makes another relay on the store, as a process that begins does.
func (f *following) open() {
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.test", Spool: f.logStore,
		EventLog: relay.EventLog{Retention: 24 * time.Hour},
		Logger:   slog.New(slog.NewTextHandler(&f.log, nil)),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = r.Close() })
	f.relay = r
}

// read follows until nothing more comes, and returns the queue ids of each
// batch.
func (f *following) read(consumer string, fails func(call int) error) string {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	var batches []string
	done := make(chan error, 1)
	calls := 0
	go func() {
		done <- f.relay.Follow(ctx, consumer,
			func(_ context.Context, events []event.Event) error {
				var ids []string
				for _, e := range events {
					ids = append(ids, e.QueueID)
				}
				batches = append(batches, strings.Join(ids, " "))
				if calls++; fails != nil {
					return fails(calls)
				}
				return nil
			})
	}()
	time.Sleep(time.Hour)
	synctest.Wait()
	cancel()
	if err := <-done; err != nil {
		f.t.Errorf("Follow: %v", err)
	}
	return strings.Join(batches, " | ")
}

func TestFollowGoesOnWhereItEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.add("a", "b")
		if got := f.read("c", nil); got != "a b" {
			t.Errorf("a new consumer got %q", got)
		}
		f.add("c")
		f.open()
		if got := f.read("c", nil); got != "c" {
			t.Errorf("then it got %q", got)
		}
		if got := f.read("other", nil); got != "a b c" {
			t.Errorf("another got %q", got)
		}
	})
}

func TestFollowHearsOfWhatIsAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		go func() {
			for i := range 3 {
				time.Sleep(time.Minute)
				f.add(fmt.Sprint(i))
			}
		}()
		if got := f.read("c", nil); got != "0 | 1 | 2" {
			t.Errorf("got %q", got)
		}
	})
}

func TestFollowBringsTheSameBatchAgain(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("no") },
		"panic": func() error { panic("no") },
		// Errors that would end Follow if they were the store's.
		"closed": func() error { return spool.ErrClosed },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := follow(t)
				f.add("a", "b")
				var at []time.Duration
				begun := time.Now()
				got := f.read("c", func(call int) error {
					if at = append(at, time.Since(begun)); call < 9 {
						return fail()
					}
					return nil
				})
				if got != strings.Repeat("a b | ", 8)+"a b" {
					t.Errorf("got %q", got)
				}
				if fmt.Sprint(at) != "[0s 1s 3s 7s 15s 31s 1m3s 2m3s 3m3s]" {
					t.Errorf("at %v", at)
				}
				if name == "panic" && !strings.Contains(f.log.String(), "follow_test.go") {
					t.Errorf("no stack in %s", f.log.String())
				}
			})
		})
	}
}

func TestFollowOutlastsFailuresOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.add("a")
		f.setFail(errors.New("busy"))
		time.AfterFunc(10*time.Minute, func() { f.setFail(nil) })
		if got := f.read("c", nil); got != "a" {
			t.Errorf("got %q", got)
		}
		f.setFail(spool.ErrClosed)
		err := f.relay.Follow(t.Context(), "c", ignore)
		if !errors.Is(err, spool.ErrClosed) {
			t.Errorf("a closed store: %v", err)
		}
	})
}

func TestFollowKeepsBatchesSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		for range 450 {
			f.add("x")
		}
		got := f.read("c", nil)
		var sizes []int
		for _, b := range strings.Split(got, " | ") {
			sizes = append(sizes, len(strings.Fields(b)))
		}
		if fmt.Sprint(sizes) != "[200 200 50]" {
			t.Errorf("batches of %v", sizes)
		}
		long := strings.Repeat("x", 60<<10)
		for range 40 {
			f.add(long)
		}
		for _, b := range strings.Split(f.read("c", nil), " | ") {
			if len(b) > 1<<20 {
				t.Errorf("a batch of %d bytes", len(b))
			}
		}
	})
}

func TestFollowNamesTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.add("a")
		if got := f.read("c", nil); got != "a" {
			t.Errorf("got %q", got)
		}
		f.add("b")
		time.Sleep(25 * time.Hour)
		f.add("c")
		if err := f.Truncate(t.Context(), time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		err := f.relay.Follow(t.Context(), "c", ignore)
		gap, ok := errors.AsType[*spool.GapError](err)
		if !ok || !errors.Is(err, spool.ErrGap) || !strings.Contains(err.Error(), "advance it to") {
			t.Fatalf("Follow: %v", err)
		}
		if err := f.Advance(t.Context(), "c", gap.Oldest); err != nil {
			t.Fatal(err)
		}
		if got := f.read("c", nil); got != "c" {
			t.Errorf("behind the gap: %q", got)
		}
		if got := f.read("new", nil); got != "c" {
			t.Errorf("a new consumer got %q", got)
		}
	})
}

func TestFollowPassesDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.add("a", "!", "b", "gone", "c")
		f.damaged = 40
		if got := f.read("c", nil); got != "a b | c" {
			t.Errorf("got %q", got)
		}
		if n := strings.Count(f.log.String(), "level=ERROR"); n != 2 {
			t.Errorf("%d errors in the log:\n%s", n, f.log.String())
		}
		if f.cursors["c"] != 50 {
			t.Errorf("the place is %d", f.cursors["c"])
		}
		f.add("!")
		if got := f.read("c", nil); got != "" || f.cursors["c"] != 60 {
			t.Errorf("got %q, then the place is %d", got, f.cursors["c"])
		}
	})
}

func TestFollowOncePerConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.relay.Follow(ctx, "c", ignore) }()
		synctest.Wait()
		if err := f.relay.Follow(t.Context(), "c", ignore); !errors.Is(err, relay.ErrUnderWay) {
			t.Errorf("a second call: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the first: %v", err)
		}
		if got := f.read("c", nil); got != "" {
			t.Errorf("the next: %q", got)
		}
	})
}

// A consumer that did its work when ctx ended does not get it again.
func TestFollowKeepsThePlaceAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.add("a")
		ctx, cancel := context.WithCancel(t.Context())
		err := f.relay.Follow(ctx, "c", func(context.Context, []event.Event) error {
			cancel()
			return nil
		})
		if err != nil || f.cursors["c"] != 10 {
			t.Errorf("%v, the place is %d", err, f.cursors["c"])
		}
	})
}

func ignore(context.Context, []event.Event) error { return nil }

func TestFollowRefuses(t *testing.T) {
	t.Parallel()
	off, err := relay.New(relay.Config{Hostname: "a.test", Spool: newLogStore()})
	if err != nil {
		t.Fatal(err)
	}
	if err := off.Follow(t.Context(), "c", ignore); err == nil {
		t.Error("a relay without EventLog is followed")
	}
	on, err := relay.New(relay.Config{
		Hostname: "a.test", Spool: newLogStore(), EventLog: relay.EventLog{Retention: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a b", "a/b", strings.Repeat("x", 65), "é"} {
		err := on.Follow(t.Context(), name, ignore)
		if _, ok := errors.AsType[*postern.FieldError](err); !ok {
			t.Errorf("consumer %q: %v", name, err)
		}
	}
	if err := on.Follow(t.Context(), "c", nil); err == nil {
		t.Error("no function")
	}
}

// The place is kept as soon as the store can, however long that took.
func TestFollowKeepsThePlaceAfterALongFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.add("a")
		f.strict = true
		time.AfterFunc(10*time.Minute, func() { f.setFail(nil); f.add("b") })
		got := f.read("c", func(call int) error {
			if call == 1 {
				f.setFail(errors.New("the disk is full"))
			}
			return nil
		})
		if got != "a | b" || f.cursors["c"] != 20 {
			t.Errorf("got %q, the place is %d", got, f.cursors["c"])
		}
	})
}
