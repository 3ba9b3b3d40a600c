package pgspool_test

import (
	"context"
	"fmt"
	"io/fs"
	"log"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// A queue in a database is opened on a pool, which is closed last.
func ExampleOpen() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, server.URL()+"&pool_max_conns=10")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	queue, err := pgspool.Open(ctx, pool, &pgspool.Options{Schema: "example_mail"})
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	r, err := relay.New(relay.Config{Hostname: "relay.example.com", Spool: queue})
	if err != nil {
		log.Fatal(err)
	}
	stats, err := r.Stats(ctx)
	fmt.Println(stats.Messages, err)
	// Output: 0 <nil>
}

// The owner of a database makes the schema, and programs with fewer rights open
// the queue.
func ExampleMigrate() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	if err := pgspool.Migrate(ctx, pool, "owned_mail"); err != nil {
		log.Fatal(err)
	}
	queue, err := pgspool.Open(ctx, pool, &pgspool.Options{Schema: "owned_mail", NoMigrate: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(queue.Close())
	// Output: <nil>
}

// With goose, which keeps its own table in the same schema:
//
//	// The schema is there already.
//	db, err := sql.Open("pgx", url+"&search_path=postern")
//	files := pgspool.Migrations()
//	p, err := goose.NewProvider(goose.DialectPostgres, db, files)
//	_, err = p.Up(ctx)
func ExampleMigrations() {
	files, err := fs.Glob(pgspool.Migrations(), "00001_*.sql")
	fmt.Println(files, err)
	// Output: [00001_queue.sql] <nil>
}

// A test rolls back, and looks at what would have been sent.
func ExampleQueued() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	queue, err := pgspool.Open(ctx, pool, &pgspool.Options{Schema: "queued_mail"})
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	tx, err := pool.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback(ctx)
	// … r.SubmitIn(ctx, queue.Tx(tx), …) …
	messages, err := pgspool.Queued(ctx, tx, "queued_mail")
	fmt.Println(len(messages), err)
	// Output: 0 <nil>
}
