package pgspool_test

import (
	"io"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

func TestLife(t *testing.T) {
	s := open(t, server.Database(t))
	id := message(t, s, "a", "hello")
	got, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 10, TTL: time.Minute})
	if err != nil || len(got.Leases) != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	r, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if string(b) != "hello" || err != nil {
		t.Fatal(string(b), err)
	}
	l := got.Leases[0]
	if err := s.Settle(
		t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
	); err != nil {
		t.Fatal(err)
	}
	st, err := s.Stats(t.Context())
	if st != (spool.Stats{}) || err != nil {
		t.Fatalf("%+v %v", st, err)
	}
}
