package policy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// shared is a spool.Shared that notes what is added, and fails or hangs when it
// is told to.
type shared struct {
	*memspool.Store
	mu    sync.Mutex
	keys  []string
	fail  error
	hangs bool
}

func (s *shared) Add(
	ctx context.Context, key string, n int64, ttl time.Duration,
) (int64, error) {
	s.mu.Lock()
	fail, hangs := s.fail, s.hangs
	s.keys = append(s.keys, key)
	s.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	if fail != nil {
		return 0, fail
	}
	return s.Store.Add(ctx, key, n, ttl)
}

func (s *shared) set(fail error, hangs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.hangs = fail, hangs
}

func (s *shared) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

// rates are those of several processes that share counts.
func rates(t *testing.T, n int, s spool.Shared) (list []*policy.Rates) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range n {
		r := new(policy.Rates)
		list = append(list, r)
		all.Go(func() { r.Share(ctx, s, slog.New(slog.DiscardHandler)) })
	}
	t.Cleanup(func() { cancel(); all.Wait() })
	synctest.Wait()
	return list
}

// send sends so many messages of a client and returns how many went through.
func send(r *policy.Rates, n, limit int, from string) (went int) {
	c := policy.Client{Connector: &connector.Connector{Name: "apps"}}
	limits := connector.Limits{MessageRate: limit}
	a, err := netip.ParseAddr(from)
	if err != nil {
		c.Identity, limits.MessageRateBy = &auth.Identity{User: from}, connector.RateByUser
	}
	for range n {
		if r.Within(c, limits, a, time.Now()) {
			went++
		}
	}
	return went
}

func TestRatesOfSeveralProcesses(t *testing.T) {
	for _, from := range []string{"192.0.2.1", "anna@example.com"} {
		synctest.Test(t, func(t *testing.T) {
			r := rates(t, 2, memspool.New(nil))
			step := func(i, n, want int) {
				t.Helper()
				if got := send(r[i], n, 10, from); got != want {
					t.Errorf("%d of %d went through process %d, want %d", got, n, i, want)
				}
				time.Sleep(time.Second)
			}
			step(0, 6, 6)
			step(1, 1, 1) // by which it learns of the others
			step(1, 9, 3)
			step(1, 9, 0)
			step(0, 1, 1) // it did not know yet
			step(0, 9, 0)
			if got := send(r[1], 1, 10, "192.0.2.7"); got != 1 {
				t.Error("another client is refused")
			}
			time.Sleep(time.Minute)
			step(0, 20, 10)
			step(1, 1, 1)
			step(1, 1, 0)
		})
	}
}

// What is sent meanwhile is not lost while the store is asked.
func TestRatesCountWhileTheyTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memspool.New(nil)
		r := rates(t, 2, store)
		went := 0
		for range 200 { // 20 s
			went += send(r[0], 1, 100, "192.0.2.1") + send(r[1], 1, 100, "192.0.2.1")
			time.Sleep(100 * time.Millisecond)
		}
		// Either knows of the other's after 250 ms at the latest.
		if went < 100 || went > 105 {
			t.Errorf("%d went, of 100 a minute", went)
		}
	})
}

// A store that fails or hangs holds up nobody, and each process counts alone.
// When it is back it hears of all.
func TestRatesGoOnWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shared{Store: memspool.New(nil)}
		for _, hangs := range []bool{false, true} {
			s.set(errors.New("down"), hangs)
			r := rates(t, 2, s)
			time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
			began := time.Now()
			for i := range r {
				if got := send(r[i], 12, 10, "192.0.2.1"); got != 10 {
					t.Errorf("%d went, want 10", got)
				}
			}
			if time.Since(began) > 0 {
				t.Errorf("clients have waited for %v", time.Since(began))
			}
			time.Sleep(20 * time.Second)
			s.set(nil, false)
			time.Sleep(10 * time.Second)
			key := s.asked()[len(s.asked())-1]
			if n, err := s.Store.Add(t.Context(), key, 0, time.Minute); n != 20 || err != nil {
				t.Errorf("hangs %v: the store has heard of %d, %v", hangs, n, err)
			}
		}
	})
}

// However many clients there are, the store is asked a bounded number of times.
func TestRatesTellSomeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shared{Store: memspool.New(nil)}
		r := rates(t, 1, s)
		for i := range 1000 {
			for range 3 {
				send(r[0], 1, 10, fmt.Sprintf("192.0.%d.%d", i/250, i%250))
			}
		}
		time.Sleep(240 * time.Millisecond)
		if n := len(s.asked()); n == 0 || n > 128 {
			t.Errorf("asked %d times at once", n)
		}
		time.Sleep(3 * time.Second)
		if n := len(s.asked()); n < 1000 || n > 1001 {
			t.Errorf("asked %d times about 1000 clients", n)
		}
		for _, key := range s.asked() {
			if len(key) > 100 || strings.Contains(key, "192.0") {
				t.Fatalf("key %q", key)
			}
		}
	})
}
