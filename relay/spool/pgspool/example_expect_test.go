package pgspool_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// Who is ready for ten deliveries says so: their commits lease them, and
// neither Lease nor Recall has to ask the database.
func ExampleStore_Expect() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pool, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	queue, err := pgspool.Open(ctx, pool, &pgspool.Options{Schema: "expected_mail"})
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	queue.Expect(spool.Expected{Max: 10, Others: 10, TTL: 2 * time.Minute})
	id := spool.NewID(time.Now())
	err = queue.Commit(ctx, &spool.Prepared{
		Content: []byte("Subject: hello\r\n\r\nhi\r\n"),
		Commit: spool.Commit{
			Message: spool.Message{ID: id, From: "shop@example.com"},
			Deliveries: []spool.Delivery{{
				Key:        spool.Key{Route: "mx/out", Domain: "example.org"},
				Recipients: []spool.Recipient{{Address: "anna@example.org"}},
			}},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	var got spool.Leased
	// If it was not asked for within a second, it has gone back.
	for ; len(got.Leases) == 0; time.Sleep(10 * time.Millisecond) {
		got, err = queue.Lease(ctx, spool.LeaseRequest{Max: 10, TTL: 2 * time.Minute})
		if err != nil {
			log.Fatal(err)
		}
	}
	for _, l := range got.Leases {
		fmt.Printf("%d bytes for %s\n", len(queue.Recall(id)), l.Delivery.Recipients[0].Address)
		fmt.Println(queue.Settle(ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	}
	// Output:
	// 22 bytes for anna@example.org
	// <nil>
}
