package main

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/pgspool"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// TestPlaceIn looks into a transaction, without a relay that runs: this is how
// an application tests what it sends.
func TestPlaceIn(t *testing.T) {
	mailtest.Programs(t)
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), pgspooltest.Start(t, nil).Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	queue, err := pgspool.Open(t.Context(), pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer queue.Close()
	r, err := relay.New(relay.Config{Hostname: "relay.example.com", Spool: queue})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := &shop{pool: pool, queue: queue, relay: r}
	if err := s.migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	pgspooltest.RequireQueued(t, tx)
	for range 2 { // the same order again is none
		err := s.placeIn(t.Context(), tx, order{ID: "1042", Item: "tea", To: "anna@example.net"})
		if err != nil {
			t.Fatal(err)
		}
		pgspooltest.RequireQueued(t, tx, "anna@example.net")
	}
}
