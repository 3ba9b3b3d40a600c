package pgspool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// Messages that are opened at once get their own content each, and one that is
// not there or is damaged fails alone.
func TestManyOpenAtOnce(t *testing.T) {
	t.Parallel()
	const n = 200
	url := server.Database(t)
	s, pool := open(t, url), connect(t, url)
	var ids [n + 1]spool.ID
	for i := range n {
		ids[i] = message(t, s, "a", fmt.Sprint("number ", i))
	}
	ids[n] = spool.NewID(time.Now())
	_, err := pool.Exec(t.Context(), "UPDATE postern.chunk SET data = 'x' WHERE id = $1", ids[7])
	if err != nil {
		t.Fatal(err)
	}
	expect := func(i int, got string, err error) bool {
		switch i {
		case 7:
			return errors.Is(err, spool.ErrDamaged)
		case n:
			return errors.Is(err, spool.ErrNotFound)
		}
		return err == nil && got == fmt.Sprint("number ", i)
	}
	var all sync.WaitGroup
	for i, id := range ids {
		for range 3 {
			all.Go(func() {
				if got, err := read(t.Context(), s, id); !expect(i, got, err) {
					t.Errorf("%d: %q, %v", i, got, err)
				}
			})
		}
	}
	all.Wait()
}

// Whoever opens a message waits no longer than his context, and the others are
// served when the pool has a connection again.
func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	pool := connect(t, server.Database(t)+"&pool_max_conns=1")
	s, err := pgspool.Open(t.Context(), pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id := message(t, s, "a", "content")
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Open(ctx, id)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("open: %v", err)
	}
	conn.Release()
	if got, err := read(t.Context(), s, id); err != nil || got != "content" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

// Whoever opens a message waits for his turn no longer than for a row, however
// long his context lasts, and nothing is read then that nobody waits for.
func TestOpenBehindOthersEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := pgspool.BeginBehindOthers(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("begin: %v", err)
		}
	})
}

func read(ctx context.Context, s spool.Store, id spool.ID) (string, error) {
	r, err := s.Open(ctx, id)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}
