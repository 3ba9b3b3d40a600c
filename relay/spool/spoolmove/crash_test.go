package spoolmove_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
	"github.com/postern-mail/postern/relay/spool/spoolmove"
)

// serve delivers all that is due, as a relay would, and returns to whom.
func serve(t *testing.T, s spool.Store) (sent []string) {
	t.Helper()
	for {
		due, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 100, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if len(due.Leases) == 0 {
			return sent
		}
		for _, l := range due.Leases {
			for _, r := range l.Delivery.Recipients {
				sent = append(sent, r.Address)
			}
			if err := s.Settle(
				t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
			); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// waiting returns the recipients of what is in a store.
func waiting(t *testing.T, s spool.Manager) (rcpts []string) {
	t.Helper()
	items, err := s.List(t.Context(), spool.Query{Max: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		for _, r := range it.Delivery.Recipients {
			rcpts = append(rcpts, r.Address)
		}
	}
	return rcpts
}

// TestKilledAtEveryCall kills the process at each call of a store, before or
// after the call has done its work, and starts it again: no recipient is lost,
// and none is served twice, also if a relay runs on the target meanwhile.
func TestKilledAtEveryCall(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"memory", "files"} {
		for _, late := range []bool{false, true} {
			for _, relay := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/late %v/relay %v", kind, late, relay), func(t *testing.T) {
					t.Parallel()
					for n := 1; ; n++ {
						whole := false
						p := &power{calls: n, late: late}
						if kind == "files" {
							whole = killFiles(t, p, relay)
						} else {
							synctest.Test(t, func(t *testing.T) { whole = killMemory(t, p, relay) })
						}
						if whole && n > 20 {
							return
						}
						if whole || n > 500 || t.Failed() {
							t.Fatalf("call %d", n)
						}
					}
				})
			}
		}
	}
}

// killMemory plays a store that lives on with the leases of the killed process.
func killMemory(t *testing.T, p *power, relay bool) bool {
	from, target := memspool.New(nil), memspool.New(nil)
	return kill(t, p, relay, from, target, func() (store, store) { return from, target })
}

// killFiles plays a directory, whose leases end with the process.
func killFiles(t *testing.T, p *power, relay bool) bool {
	a, b := t.TempDir(), t.TempDir()
	from, target := openFiles(t, a), openFiles(t, b)
	return kill(t, p, relay, from, target, func() (store, store) {
		from.Close()
		target.Close()
		return openFiles(t, a), openFiles(t, b)
	})
}

// kill reports whether the first Move came to its end.
func kill(
	t *testing.T, p *power, relay bool, from, target store, restart func() (store, store),
) bool {
	var want []string
	for i := range 2 {
		a, b := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
		put(t, from, spool.Message{}, "content", to("a", a), to("b", b))
		want = append(want, a, b)
	}
	_, err := spoolmove.Move(t.Context(), doomed{from, p}, doomed{target, p}, nil)
	if err != nil && !errors.Is(err, errDead) {
		t.Fatal(err)
	}
	var sent []string
	if relay {
		sent = serve(t, target)
	}
	from, target = restart()
	again, rerr := spoolmove.Move(t.Context(), from, target, nil)
	if rerr != nil || again.Held != 0 {
		t.Fatalf("after a restart: %+v, %v", again, rerr)
	}
	if left := waiting(t, from); len(left) != 0 {
		t.Errorf("left in the source: %v", left)
	}
	got := append(sent, waiting(t, target)...)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("killed at call %d: in the target are or were %v", p.calls, got)
	}
	return err == nil
}

// TestThereAndBack moves a queue to another store, back, and there again, each
// time interrupted before the source knows: the keys of the first time do not
// count for the last.
func TestThereAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memspool.New(nil), memspool.New(nil)
		id := put(t, a, spool.Message{}, "x", to("a", "a"))
		for i := range 5 {
			_, err := spoolmove.Move(t.Context(), forgetful{a}, b, nil)
			if !errors.Is(err, errDead) {
				t.Fatal(err)
			}
			n, err := spoolmove.Move(t.Context(), a, b, nil)
			if err != nil || n.Known != 1 || n.Messages+n.Held+n.Foreign != 0 {
				t.Fatalf("move %d: %+v, %v", i, n, err)
			}
			if len(waiting(t, a)) != 0 || len(waiting(t, b)) != 1 {
				t.Fatalf("move %d: %v, %v", i, waiting(t, a), waiting(t, b))
			}
			m, _, err := b.Find(t.Context(), id)
			if err != nil || m.Moves != i+1 {
				t.Fatalf("move %d: %+v, %v", i, m, err)
			}
			a, b = b, a
		}
	})
}

// forgetful is a store that is gone before it can settle.
type forgetful struct{ store }

func (forgetful) Settle(context.Context, spool.Settlement) error { return errDead }

// TestSameStore leaves everything in a store that is moved into itself, or into
// a copy of it.
func TestSameStore(t *testing.T) {
	t.Parallel()
	s := memspool.New(nil)
	put(t, s, spool.Message{}, "x", to("a", "a"), to("b", "b"))
	n, err := spoolmove.Move(t.Context(), s, s, nil)
	if err != nil || n != (spoolmove.Counts{Foreign: 1}) {
		t.Errorf("moved %+v, %v", n, err)
	}
	if left := queue(t, s); len(left) != 2 {
		t.Errorf("left are %q", left)
	}
}

// slow is a store that does not know a key at first.
type slow struct {
	store
	asked *int
}

func (s slow) Claimed(
	ctx context.Context, scope, key string,
) (id spool.ID, digest [32]byte, ok bool, err error) {
	if *s.asked++; *s.asked == 1 {
		return id, digest, false, nil
	}
	return s.store.Claimed(ctx, scope, key)
}

// TestLateCommit has the commit of a process that was killed come to its end
// after the next one has looked for it.
func TestLateCommit(t *testing.T) {
	for _, relay := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a, b := memspool.New(nil), memspool.New(nil)
			put(t, a, spool.Message{}, "x", to("a", "a"))
			_, err := spoolmove.Move(t.Context(), forgetful{a}, b, nil)
			if !errors.Is(err, errDead) {
				t.Fatal(err)
			}
			if relay {
				serve(t, b)
			}
			n, err := spoolmove.Move(t.Context(), a, slow{b, new(int)}, nil)
			if err != nil || n.Known != 1 || len(waiting(t, a)) != 0 {
				t.Errorf("relay %v: moved %+v, %v", relay, n, err)
			}
		})
	}
}
