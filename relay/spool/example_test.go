package spool_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// prepared is a message for a smart host, ready to commit.
func prepared(to string) *spool.Prepared {
	return &spool.Prepared{
		Content: []byte("Subject: hello\r\n\r\nhi\r\n"),
		Commit: spool.Commit{
			Message: spool.Message{ID: spool.NewID(time.Now()), From: "shop@example.com"},
			Deliveries: []spool.Delivery{{
				Key:        spool.Key{Route: "send/out", Stream: "orders"},
				Recipients: []spool.Recipient{{Address: to}},
			}},
		},
	}
}

// A holder renews all its leases in one call, and settles each.
func ExampleStore() {
	ctx := context.Background()
	s := memspool.New(nil)
	defer s.Close()
	if err := s.Commit(ctx, prepared("anna@example.org")); err != nil {
		fmt.Println(err)
		return
	}
	got, err := s.Lease(ctx, spool.LeaseRequest{Max: 10, TTL: 2 * time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	l := got.Leases[0]
	held := []spool.Held{{ID: l.Delivery.ID, Token: l.Token}}
	lost, err := s.Renew(ctx, 2*time.Minute, held)
	fmt.Println("lost:", len(lost), err)
	done := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
	fmt.Println("settled:", s.Settle(ctx, done))
	fmt.Println("again:", s.Settle(ctx, done))
	// Output:
	// lost: 0 <nil>
	// settled: <nil>
	// again: spool: lease lost
}

// In a request a key without a stream stands for every stream.
func ExampleKey() {
	ctx := context.Background()
	s := memspool.New(nil)
	defer s.Close()
	if err := s.Commit(ctx, prepared("anna@example.org")); err != nil {
		fmt.Println(err)
		return
	}
	for _, k := range []spool.Key{
		{Route: "send/out", Stream: "news"}, {Route: "send/out"},
	} {
		got, err := s.Lease(ctx, spool.LeaseRequest{
			Max: 1, TTL: time.Minute, Only: []spool.Key{k},
		})
		fmt.Println(len(got.Leases), err)
	}
	// Output:
	// 0 <nil>
	// 1 <nil>
}

// A message with an idempotency key is accepted once.
func ExampleClaim() {
	ctx := context.Background()
	s := memspool.New(nil)
	defer s.Close()
	for range 2 {
		p := prepared("anna@example.org")
		p.Commit.Claim = &spool.Claim{Scope: "shop", Key: "order 1042", TTL: 24 * time.Hour}
		err := s.Commit(ctx, p)
		fmt.Println(errors.Is(err, spool.ErrClaimed))
	}
	// Output:
	// false
	// true
}

// A consumer of the log reads behind its place, then moves it.
func ExampleLog() {
	ctx := context.Background()
	s := memspool.New(nil)
	defer s.Close()
	p := prepared("anna@example.org")
	p.Commit.Events = []spool.Record{{Time: time.Now(), Data: []byte("accepted")}}
	if err := s.Commit(ctx, p); err != nil {
		fmt.Println(err)
		return
	}
	var log spool.Log = s
	at, err := log.Cursor(ctx, "orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	list, err := log.Records(ctx, at, 100)
	for _, r := range list {
		fmt.Printf("%s %v\n", r.Data, err)
		err = log.Advance(ctx, "orders", r.At)
	}
	fmt.Println(err)
	// Output:
	// accepted <nil>
	// <nil>
}

// An operator holds a delivery, and removes it.
func ExampleManager() {
	ctx := context.Background()
	s := memspool.New(nil)
	defer s.Close()
	if err := s.Commit(ctx, prepared("anna@example.org")); err != nil {
		fmt.Println(err)
		return
	}
	var m spool.Manager = s
	for _, hold := range []bool{true, false} {
		items, err := m.List(ctx, spool.Query{Key: spool.Key{Stream: "orders"}})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(items[0].State)
		l, err := m.Take(ctx, items[0].Delivery.ID, time.Minute)
		if err != nil {
			fmt.Println(err)
			return
		}
		t := spool.Settlement{ID: l.Delivery.ID, Token: l.Token, Held: hold}
		if hold {
			t.Remaining = l.Delivery.Recipients
		}
		if err := s.Settle(ctx, t); err != nil {
			fmt.Println(err)
			return
		}
	}
	items, err := m.List(ctx, spool.Query{})
	fmt.Println(len(items), err)
	// Output:
	// waiting
	// held
	// 0 <nil>
}

// A counter ends a while after it began.
func ExampleShared() {
	ctx := context.Background()
	s := memspool.New(nil)
	defer s.Close()
	var shared spool.Shared = s
	for range 3 {
		n, err := shared.Add(ctx, "192.0.2.1", 1, time.Minute)
		fmt.Println(n, err)
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
}

// Of two processes that share a store, the one that has been alive for longest
// has the rank 0.
func ExampleNodes() {
	ctx := context.Background()
	s := memspool.New(nil)
	defer s.Close()
	var nodes spool.Nodes = s
	for _, name := range []string{"one", "two", "one"} {
		rank, live, err := nodes.Beat(ctx, "relay", name, time.Minute)
		fmt.Println(name, "is", rank, "of", live, err)
	}
	_, _, err := nodes.Beat(ctx, "relay", "one", 0) // it leaves
	fmt.Println(err)
	fmt.Println(nodes.Beat(ctx, "relay", "two", time.Minute))
	// Output:
	// one is 0 of 1 <nil>
	// two is 1 of 2 <nil>
	// one is 0 of 2 <nil>
	// <nil>
	// 0 1 <nil>
}
