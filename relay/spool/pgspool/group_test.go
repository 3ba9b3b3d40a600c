package pgspool_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

// TestWaitingSettle: a transaction that waits for a lock of somebody else holds
// up nobody who comes later.
func TestWaitingSettle(t *testing.T) {
	url := server.Database(t)
	s := open(t, url)
	message(t, s, "a", "hello")
	got, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
	if err != nil || len(got.Leases) != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	for _, sql := range []string{"BEGIN", "SELECT FROM postern.delivery FOR UPDATE"} {
		if _, err := c.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	settled := make(chan error, 1)
	go func() {
		l := got.Leases[0]
		settled <- s.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
	}()
	time.Sleep(50 * time.Millisecond) // until it waits for the lock
	for range 3 {
		begin := time.Now()
		if message(t, s, "b", "hello"); time.Since(begin) > 20*time.Second {
			t.Error("a commit waited for a settlement")
		}
	}
	select {
	case err := <-settled:
		t.Errorf("settled in spite of the lock: %v", err)
	default:
	}
	if _, err := c.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-settled; err != nil {
		t.Error(err)
	}
}
