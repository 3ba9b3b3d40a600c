package pgspool_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// A consumer of events that works in the store's database does all work exactly
// once: its transaction holds the place in the log, does the work, and moves
// the place.
func ExampleTx_Cursor() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pool, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	queue, err := pgspool.Open(ctx, pool, &pgspool.Options{Schema: "example_once"})
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: queue,
		EventLog: relay.EventLog{Retention: 30 * 24 * time.Hour},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	_, err = r.Submit(ctx, &relay.Message{
		From: "shop@example.com", To: []string{"anna@example.net"},
		Content: strings.NewReader("From: shop@example.com\nSubject: Yours\n\nThanks.\n"),
	})
	if err != nil {
		log.Fatal(err)
	}

	note := func(ctx context.Context, tx pgx.Tx, events []event.Event) error {
		q := queue.Tx(tx)
		place, err := q.Cursor(ctx, "orders")
		if err != nil {
			return err
		}
		for _, e := range events {
			if c := spool.Cursor(e.Cursor); c > place {
				fmt.Println(e.Kind, e.To) // the work, by statements of tx
				place = c
			}
		}
		return q.Advance(ctx, "orders", place)
	}
	err = r.Follow(ctx, "orders", func(ctx context.Context, events []event.Event) error {
		for range 2 { // as if nobody had heard that the first was committed
			if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				return note(ctx, tx, events)
			}); err != nil {
				return err
			}
		}
		cancel() // enough for an example
		return nil
	})
	fmt.Println(err)
	// Output:
	// accepted [anna@example.net]
	// <nil>
}
