package pgspool_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

// TestDamagedContent changes or removes rows of content beneath the store.
func TestDamagedContent(t *testing.T) {
	for name, text := range map[string]string{
		"changed": `UPDATE postern.chunk SET data = overlay(data PLACING 'y' FROM 40)
			WHERE id = $1`,
		"cut": `UPDATE postern.chunk SET data = substring(data FROM 1 FOR 900) WHERE id = $1`,
		"last gone": `DELETE FROM postern.chunk c WHERE id = $1 AND NOT EXISTS (
			SELECT FROM postern.chunk d WHERE d.id = c.id AND d.n > c.n)`,
		"gone": `DELETE FROM postern.chunk WHERE id = $1`,
	} {
		t.Run(name, func(t *testing.T) {
			spooltest.RunDamage(t, func(t *testing.T) (func() spool.Store, func(spool.ID)) {
				url := server.Database(t)
				pool := connect(t, url)
				return func() spool.Store { return open(t, url) }, func(id spool.ID) {
					if _, err := pool.Exec(t.Context(), text, id); err != nil {
						t.Fatal(err)
					}
				}
			})
		})
	}
}

// TestDamagedEnvelope garbles rows: their deliveries are leased as damaged, and
// end like any other, while the others go on.
func TestDamagedEnvelope(t *testing.T) {
	for name, text := range map[string]string{
		"recipients garbled": `UPDATE postern.delivery SET rcpt = '\x0affff' WHERE id = $1`,
		"recipients gone":    `UPDATE postern.delivery SET rcpt = '' WHERE id = $1`,
		"message garbled":    `UPDATE postern.message SET meta = '\x12ffff' WHERE id = $1`,
		"message gone":       `DELETE FROM postern.message WHERE id = $1`,
	} {
		t.Run(name, func(t *testing.T) {
			url := server.Database(t)
			s, pool := open(t, url), connect(t, url)
			bad, good := message(t, s, "a", "bad"), message(t, s, "a", "good")
			if _, err := pool.Exec(t.Context(), text, bad); err != nil {
				t.Fatal(err)
			}
			got, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 9, TTL: time.Minute})
			if err != nil || len(got.Leases) != 2 {
				t.Fatalf("leased %+v, %v", got, err)
			}
			for _, l := range got.Leases {
				damaged := errors.Is(l.Damaged, spool.ErrDamaged)
				if damaged != (l.Message.ID == bad) || !damaged && l.Message.ID != good {
					t.Errorf("leased %+v", l)
				}
				if l.Delivery.Key.Route != "a" {
					t.Errorf("its key is %+v", l.Delivery.Key)
				}
				done := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
				if err := s.Settle(t.Context(), done); err != nil {
					t.Error(err)
				}
			}
			empty(t, pool)
		})
	}
}

// TestEmptiedByHand has an operator empty tables under a node: what is gone is
// gone, and the node goes on.
func TestEmptiedByHand(t *testing.T) {
	url := server.Database(t)
	s, pool := open(t, url), connect(t, url)
	for range 3 {
		message(t, s, "a", "old")
	}
	got, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
	if err != nil || len(got.Leases) != 1 {
		t.Fatalf("leased %+v, %v", got, err)
	}
	statements(t, pool,
		"TRUNCATE postern.delivery, postern.message, postern.chunk, postern.counter")
	l := got.Leases[0]
	err = s.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
	if !errors.Is(err, spool.ErrLeaseLost) {
		t.Errorf("the settlement was answered %v", err)
	}
	roundTrip(t, s)
}

// empty sees that nothing is left in the tables of the queue.
func empty(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	for _, table := range []string{"message", "chunk", "delivery", "staged", "wake"} {
		var n int
		err := pool.QueryRow(t.Context(), "SELECT count(*) FROM postern."+table).Scan(&n)
		if err != nil || n != 0 {
			t.Errorf("%d rows are left in %s: %v", n, table, err)
		}
	}
}
