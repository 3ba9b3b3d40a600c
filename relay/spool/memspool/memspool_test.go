package memspool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	spooltest.Run(t, func(t *testing.T) spool.Store { return memspool.New(nil) })
}

func TestFull(t *testing.T) {
	t.Parallel()
	s := memspool.New(&memspool.Options{MaxBytes: 10})
	commit := func(n int, prepend string) error {
		w, err := s.Create(t.Context(), spool.NewID(time.Now()))
		if err != nil {
			return err
		}
		if _, err := w.Write(make([]byte, n)); err != nil {
			w.Abort()
			return err
		}
		return w.Commit(
			t.Context(),
			spool.Commit{
				Prepend:    []byte(prepend),
				Deliveries: []spool.Delivery{{Key: spool.Key{Route: "a"}}},
			},
		)
	}
	if err := commit(11, ""); !errors.Is(err, spool.ErrFull) {
		t.Fatalf("error is %v, want ErrFull", err)
	}
	if err := commit(9, "ab"); !errors.Is(err, spool.ErrFull) {
		t.Fatalf("error is %v, want ErrFull", err)
	}
	for range 3 {
		if err := commit(9, "a"); err != nil {
			t.Fatal(err)
		}
		l, err := s.Lease(
			t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute},
		)
		if err != nil || len(l.Leases) != 1 {
			t.Fatalf("leased %v, %v", l, err)
		}
		if err := s.Settle(
			t.Context(), spool.Settlement{ID: l.Leases[0].Delivery.ID, Token: l.Leases[0].Token},
		); err != nil {
			t.Fatal(err)
		}
	}
}

func Example() {
	ctx, now := context.Background(), time.Now()
	var s spool.Store = memspool.New(nil)
	defer s.Close()

	w, err := s.Create(ctx, spool.NewID(now))
	if err != nil {
		fmt.Println(err)
		return
	}
	io.WriteString(w, "Subject: hello\n\nworld\n")
	err = w.Commit(ctx, spool.Commit{
		Message: spool.Message{From: "app@example.com"},
		Deliveries: []spool.Delivery{
			{
				Key: spool.Key{Route: "example.org"}, Due: now,
				Recipients: []spool.Recipient{{Address: "alice@example.org"}},
			},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	due, err := s.Lease(ctx, spool.LeaseRequest{Max: 10, TTL: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, l := range due.Leases {
		fmt.Println("to", l.Delivery.Recipients[0].Address, "by", l.Delivery.Key.Route)
		content, err := s.Open(ctx, l.Message.ID)
		if err != nil {
			fmt.Println(err)
			return
		}
		io.Copy(os.Stdout, content)
		content.Close()
		fmt.Println(s.Settle(ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	}
	// Output:
	// to alice@example.org by example.org
	// Subject: hello
	//
	// world
	// <nil>
}

// TestNilContext answers an error where the context is missing.
func TestNilContext(t *testing.T) {
	s, none := memspool.New(nil), context.Context(nil)
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
