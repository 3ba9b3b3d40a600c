package relay_test

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// unsettled is a store that cannot settle for a while.
type unsettled struct {
	*filespool.Store
	fails atomic.Bool
}

func (s *unsettled) Settle(ctx context.Context, t spool.Settlement) error {
	if s.fails.Load() {
		return syscall.EIO
	}
	return s.Store.Settle(ctx, t)
}

// TestCancelThatFails counts nobody, and leaves the message as it was: it may
// be cancelled again at once.
func TestCancelThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := logged(t, nil)
		store := &unsettled{Store: cfg.Spool.(*filespool.Store)}
		cfg.Spool = store
		r := run(t, cfg)
		receipt, err := r.Submit(t.Context(), keyed("", func(m *relay.Message) {
			m.To, m.NotBefore = []string{"x@a.test", "y@b.test"}, time.Now().Add(time.Hour)
		}))
		if err != nil {
			t.Fatal(err)
		}
		store.fails.Store(true)
		if n, err := r.Cancel(t.Context(), receipt.QueueID); n != 0 ||
			!errors.Is(err, syscall.EIO) {
			t.Errorf("Cancel = %d, %v", n, err)
		}
		store.fails.Store(false)
		if n, err := r.Cancel(t.Context(), receipt.QueueID); n != 2 || err != nil {
			t.Errorf("again: %d, %v", n, err)
		}
		time.Sleep(2 * time.Hour)
		removed := 0
		for _, e := range readLog(t, r, "c") {
			if e.Kind.Fate() {
				removed++
			}
			if e.Kind.Fate() && e.Kind != event.Removed {
				t.Errorf("%+v", e)
			}
		}
		if removed != 2 {
			t.Errorf("%d fates", removed)
		}
	})
}

// TestCancelWhileAttemptsBegin gives each recipient one fate, whoever comes
// first.
func TestCancelWhileAttemptsBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, logged(t, nil))
		var ids []string
		for range 100 {
			ids = append(ids, submit(t, r, "", "ok@a.test"))
		}
		cancelled := 0
		for _, id := range ids {
			n, err := r.Cancel(t.Context(), id)
			if err != nil && !errors.Is(err, relay.ErrUnderWay) &&
				!errors.Is(err, relay.ErrNotFound) {
				t.Error(err)
			}
			cancelled += n
		}
		time.Sleep(time.Hour)
		fates, removed := map[string]int{}, 0
		for _, e := range readLog(t, r, "c") {
			if e.Kind.Fate() {
				fates[e.QueueID]++
			}
			if e.Kind == event.Removed {
				removed++
			}
		}
		for _, id := range ids {
			if fates[id] != 1 {
				t.Errorf("%s has %d fates", id, fates[id])
			}
		}
		if removed != cancelled {
			t.Errorf("%d removed, %d cancelled", removed, cancelled)
		}
	})
}
