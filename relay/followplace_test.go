package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// hear follows for an hour, and returns the queue ids of each batch. f gets the
// number of the call.
func (f *following) hear(work func(call int, events []event.Event) error) string {
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Hour)
	defer cancel()
	var batches []string
	err := f.relay.Follow(ctx, "c", func(_ context.Context, events []event.Event) error {
		var ids []string
		for _, e := range events {
			ids = append(ids, e.QueueID)
		}
		batches = append(batches, strings.Join(ids, " "))
		return work(len(batches), events)
	})
	if err != nil {
		f.t.Errorf("Follow: %v", err)
	}
	return strings.Join(batches, " | ")
}

func TestFollowTellsWhereEventsLie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.add("a", "!", "b")
		var at []uint64
		f.hear(func(_ int, events []event.Event) error {
			for _, e := range events {
				at = append(at, e.Cursor)
			}
			return nil
		})
		if fmt.Sprint(at) != "[10 30]" {
			t.Errorf("at %v", at)
		}
	})
}

// What the function has moved behind in transactions of its own stays done.
func TestFollowGoesOnBehindWhatItsFunctionHasDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.add("a", "b", "c", "d")
		got := f.hear(func(call int, events []event.Event) error {
			for _, e := range events {
				if e.QueueID == "c" && call < 3 {
					return errors.New("no")
				}
				if err := f.Advance(f.t.Context(), "c", spool.Cursor(e.Cursor)); err != nil {
					return err
				}
			}
			return nil
		})
		if got != "a b c d | c d | c d" || f.advanced != 4 {
			t.Errorf("%q; the place moved %d times", got, f.advanced)
		}
	})
}

// A transaction of which nobody knows whether it went through is not done
// again when it did.
func TestFollowDoesNotRepeatACommitWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.add("a", "b")
		got := f.hear(func(_ int, events []event.Event) error {
			last := events[len(events)-1].Cursor
			time.AfterFunc(time.Millisecond, func() {
				_ = f.Advance(context.Background(), "c", spool.Cursor(last))
			})
			return errors.New("the connection broke")
		})
		if got != "a b" || f.cursors["c"] != 20 {
			t.Errorf("%q, the place is %d", got, f.cursors["c"])
		}
	})
}

// Follow moves the place forward only, and goes on where it finds it.
func TestFollowDoesNotOverruleThePlace(t *testing.T) {
	for name, c := range map[string]struct {
		to   spool.Cursor
		want string
	}{
		"up to the end of the batch": {30, "b c | d"},
		"into the batch":             {20, "b c | d"},
		"beyond it":                  {40, "b c | e"},
		"back, to read again":        {0, "b c | a b c d"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := follow(t)
				f.add("a", "b", "c")
				f.cursors["c"] = 10
				got := f.hear(func(call int, events []event.Event) error {
					if call == 1 {
						f.add("d")
						if c.to == 40 {
							f.add("e")
						}
						return f.Advance(f.t.Context(), "c", c.to)
					}
					return nil
				})
				if got != c.want {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		})
	}
}
