package pgspooltest_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/lib/pq"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// shop is an application that mails its orders.
type shop struct {
	queue *pgspool.Store
	relay *relay.Relay
}

func newShop(ctx context.Context, pool *pgxpool.Pool) (*shop, error) {
	queue, err := pgspool.Open(ctx, pool, nil)
	if err != nil {
		return nil, err
	}
	r, err := relay.New(relay.Config{
		Hostname: "shop.example.com", Spool: queue,
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{Hosts: []string{"smtp.example.net"}},
		}},
	})
	return &shop{queue, r}, err
}

// confirm puts an order's mail into a transaction.
func (s *shop) confirm(ctx context.Context, c spool.Committer, to string) error {
	_, err := s.relay.SubmitIn(ctx, c, &relay.Message{
		From: "shop@example.com", To: []string{to}, Stream: "orders", Key: "order-1-" + to,
		Content: strings.NewReader("From: shop@example.com\r\nSubject: order 1\r\n\r\nthanks\r\n"),
	})
	return err
}

func newDatabase(t *testing.T) (*shop, *pgxpool.Pool, string) {
	t.Helper()
	url := pgspooltest.Start(t, nil).Database(t)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s, err := newShop(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.queue.Close() })
	return s, pool, url
}

func TestRequireQueued(t *testing.T) {
	s, pool, url := newDatabase(t)
	ctx := t.Context()
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	pgspooltest.RequireQueued(t, tx)
	for _, to := range []string{"anna@example.org", "ben@example.org"} {
		if err := s.confirm(ctx, s.queue.Tx(tx), to); err != nil {
			t.Fatal(err)
		}
	}
	err = pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
		return s.confirm(ctx, s.queue.Tx(savepoint), "carl@example.org")
	})
	if err != nil {
		t.Fatal(err)
	}
	pgspooltest.RequireQueued(t, tx, "carl@example.org", "anna@example.org", "ben@example.org")
	m := pgspooltest.Queued(t, tx)[0]
	if m.From != "shop@example.com" || m.Stream != "orders" || m.ID.IsZero() ||
		!strings.Contains(string(m.Content), "Received: ") ||
		!strings.HasSuffix(string(m.Content), "thanks\r\n") {
		t.Fatalf("%+v", m)
	}
	othersSeeNothing(t, s, url)
}

// othersSeeNothing queues in a transaction that begins later, and commits it.
func othersSeeNothing(t *testing.T, s *shop, url string) {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for range 2 {
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		pgspooltest.RequireQueued(t, tx) // not what others have committed, either
		err = s.confirm(t.Context(), s.queue.SQLTx(tx), fmt.Sprintf("dora@%p.example", tx))
		if err != nil {
			t.Fatal(err)
		}
		pgspooltest.RequireQueued(t, tx, fmt.Sprintf("dora@%p.example", tx))
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// A test that is failed on purpose keeps what it was told.
type failing struct {
	testing.TB
	told string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.told = fmt.Sprintf(format, args...)
	panic(f)
}

func TestRequireQueuedTellsWhatItFound(t *testing.T) {
	s, pool, _ := newDatabase(t)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	if err := s.confirm(t.Context(), s.queue.Tx(tx), "anna@example.org"); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{
		nil, {"ben@example.org"}, {"anna@example.org", "anna@example.org"},
	} {
		f := &failing{TB: t}
		func() {
			defer func() { recover() }()
			pgspooltest.RequireQueued(f, tx, want...)
		}()
		if !strings.Contains(f.told, `to ["anna@example.org"]`) ||
			!strings.Contains(f.told, `from <shop@example.com>`) {
			t.Fatalf("want %q: told %q", want, f.told)
		}
	}
}

// The order and its mail are in one transaction, which the test rolls back.
func ExampleRequireQueued() {
	var (
		t    *testing.T
		s    *shop
		pool *pgxpool.Pool
	)
	test := func() {
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(t.Context())
		if err := s.confirm(t.Context(), s.queue.Tx(tx), "anna@example.org"); err != nil {
			t.Fatal(err)
		}
		pgspooltest.RequireQueued(t, tx, "anna@example.org")
	}
	_ = test // a test function of the application
}

// Queued tells more of the messages than their recipients.
func ExampleQueued() {
	server, err := pgspooltest.NewServer(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	s, err := newShop(ctx, pool)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.queue.Close()
	tx, err := pool.Begin(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tx.Rollback(ctx)
	err = s.confirm(ctx, s.queue.Tx(tx), "anna@example.org")
	for _, m := range pgspooltest.Queued(testingT{}, tx) { // a test has its t
		fmt.Println(m.Stream, m.To, err)
	}
	// Output: orders [anna@example.org] <nil>
}

// testingT stands for the *testing.T of a test.
type testingT struct{ testing.TB }

func (testingT) Helper()                  {}
func (testingT) Context() context.Context { return context.Background() }
