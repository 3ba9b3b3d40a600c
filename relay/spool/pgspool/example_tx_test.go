package pgspool_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// An order and its mail are in one transaction: the mail is sent if, and only
// if, the order is there. What becomes of the mail is noted once, because the
// place in the log moves in the transaction that notes it.
func ExampleStore_Tx() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pool, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	queue, err := pgspool.Open(ctx, pool, &pgspool.Options{Schema: "shop_mail"})
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	r, err := relay.New(relay.Config{
		Hostname: "shop.example.com", Spool: queue, Transport: delivery.TransportFunc(taken),
		EventLog: relay.EventLog{Retention: 24 * time.Hour},
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := pool.Exec(
		ctx, "CREATE TABLE orders (id text PRIMARY KEY, mail text)",
	); err != nil {
		log.Fatal(err)
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ('1042')"); err != nil {
			return err
		}
		_, err := r.SubmitIn(ctx, queue.Tx(tx), &relay.Message{
			From: "shop@example.com", To: []string{"anna@example.net"}, Key: "1042",
			Labels:  map[string]string{"order": "1042"},
			Content: strings.NewReader("From: shop@example.com\nSubject: Yours\n\nThanks.\n"),
		})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	_ = r.Follow(ctx, "orders", func(ctx context.Context, events []event.Event) error {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			return note(ctx, tx, queue, events)
		})
		if err == nil && events[len(events)-1].Kind.Fate() {
			cancel()
		}
		return err
	})
	<-ended
	var mail string
	err = pool.QueryRow(context.Background(), "SELECT mail FROM orders").Scan(&mail)
	fmt.Println(mail, err)
	// Output: delivered <nil>
}

// note writes down what became of the mail of orders.
func note(ctx context.Context, tx pgx.Tx, queue *pgspool.Store, events []event.Event) error {
	for i := range events {
		e := &events[i]
		_, err := tx.Exec(ctx, "UPDATE orders SET mail = $2 WHERE id = $1",
			e.Labels["order"], e.Kind.String())
		if err != nil {
			return err
		}
	}
	last := events[len(events)-1].Cursor
	return queue.Tx(tx).Advance(ctx, "orders", spool.Cursor(last))
}

// With database/sql it is the same, whatever the driver.
func ExampleStore_SQLTx() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	queue, err := pgspool.Open(ctx, pool, &pgspool.Options{Schema: "sql_mail"})
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	r, err := relay.New(relay.Config{
		Hostname: "shop.example.com", Spool: queue, Transport: delivery.TransportFunc(taken),
	})
	if err != nil {
		log.Fatal(err)
	}
	db, err := sql.Open("postgres", server.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	receipt, err := r.SubmitIn(ctx, queue.SQLTx(tx), &relay.Message{
		From: "shop@example.com", To: []string{"anna@example.net"},
		Content: strings.NewReader("From: shop@example.com\nSubject: Yours\n\nThanks.\n"),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tx.Commit(), receipt.QueueID == "")
	// Output: <nil> false
}

// taken is a transport that has taken everything.
func taken(_ context.Context, a *delivery.Attempt) []delivery.Result {
	return a.All(delivery.Taken("mx.example.net", delivery.Reply{Code: 250}))
}
