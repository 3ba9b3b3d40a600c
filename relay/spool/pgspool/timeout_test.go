package pgspool_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// hurried opens a store whose statements have a tenth of a second each, from
// hurry on: to open it takes longer on a busy machine.
func hurried(t *testing.T, url string) (s *pgspool.Store, hurry func()) {
	config, err := pgxpool.ParseConfig(url)
	ok(t, err)
	var hurries atomic.Bool
	config.PrepareConn = func(ctx context.Context, c *pgx.Conn) (bool, error) {
		if !hurries.Load() {
			return true, nil
		}
		_, err := c.Exec(ctx, "SET statement_timeout = 100")
		return true, err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	ok(t, err)
	t.Cleanup(pool.Close)
	return openOn(t, pool), func() { hurries.Store(true) }
}

// TestShortStatementTimeout: what a statement_timeout breaks off is answered by
// an error that may pass, and done when there is time for it.
func TestShortStatementTimeout(t *testing.T) {
	t.Parallel()
	url := server.Database(t)
	plain := open(t, url)
	pool := connect(t, url)
	s, hurry := hurried(t, url)
	id := message(t, plain, "a", "hello")
	l := leaseOne(t, plain, "a")
	message(t, plain, "b", "hello")
	done := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
	later := spool.Commit{Deliveries: []spool.Delivery{{
		Key: spool.Key{Route: "c"}, Recipients: []spool.Recipient{{Address: "a@c"}},
	}}}
	w, err := s.Create(t.Context(), spool.NewID(time.Now()))
	ok(t, err)
	tx := begin(t, pool, pgx.TxOptions{})
	_, err = tx.Exec(t.Context(),
		"LOCK postern.message, postern.chunk, postern.delivery, postern.log, postern.inbox")
	ok(t, err)
	hurry()
	for name, f := range map[string]func() error{
		"Commit": func() error { return w.Commit(t.Context(), later) },
		"Settle": func() error { return s.Settle(t.Context(), done) },
		"Open":   func() error { _, err := s.Open(t.Context(), id); return err },
		"Lease": func() error {
			_, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
			return err
		},
		"Records": func() error { _, err := s.Records(t.Context(), 0, 1); return err },
	} {
		err := f()
		if err == nil {
			t.Errorf("%s was answered nil", name)
		}
		for _, final := range []error{
			spool.ErrDamaged, spool.ErrNotFound, spool.ErrExists, spool.ErrLeaseLost,
			spool.ErrFull, spool.ErrClosed, spool.ErrFailed, spool.ErrGap,
		} {
			if errors.Is(err, final) {
				t.Errorf("%s was answered %v", name, err)
			}
		}
	}
	ok(t, tx.Rollback(t.Context()))
	r, err := plain.Open(t.Context(), id)
	ok(t, err)
	if b, err := io.ReadAll(r); string(b) != "hello" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	ok(t, plain.Settle(t.Context(), done))
	l = leaseOne(t, plain, "b")
	ok(t, plain.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	empty(t, pool)
}
