package filespool_test

import (
	"context"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// TestNilContext answers an error where the context is missing.
func TestNilContext(t *testing.T) {
	s, none := open(t, t.TempDir(), nil), context.Context(nil)
	w, err := s.Create(t.Context(), spool.NewID(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	_, create := s.Create(none, spool.NewID(time.Now()))
	_, lease := s.Lease(none, spool.LeaseRequest{})
	_, stats := s.Stats(none)
	settle, commit := s.Settle(none, spool.Settlement{}), w.Commit(none, spool.Commit{})
	for i, err := range []error{create, lease, stats, settle, commit} {
		if err == nil {
			t.Errorf("call %d: no error", i)
		}
	}
}
