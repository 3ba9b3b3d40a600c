// Command outbox is a shop whose orders and mail are one transaction: an order
// that is placed is confirmed by mail, one that fails is not, and neither
// depends on what else breaks. The queue of the mail is a schema in the shop's
// own PostgreSQL:
//
//	go run ./examples/outbox -database postgres://shop@localhost/shop \
//	    -smart-host mail.example.com:25
//
// The page lists the orders, and what became of the mail of each: the relay
// tells, and the shop notes it in a transaction that moves its place in the log
// of events too. So each event counts once, whatever is killed and when. Any
// number of these programs may run on one database.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

type options struct{ addr, database, smartHost string }

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8026", "`address` of the web page")
	flag.StringVar(&o.database, "database", "postgres://localhost/shop", "`URL` of the database; "+
		"its password may be in PGPASSWORD or ~/.pgpass")
	flag.StringVar(&o.smartHost, "smart-host", "127.0.0.1:2602", "`host:port` that takes the mail")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := run(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "outbox:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, o options) error {
	pool, err := pgxpool.New(ctx, o.database)
	if err != nil {
		return err
	}
	defer pool.Close()
	// Orders hold connections of the shop while they wait for the queue, which
	// has its own therefore.
	config := pool.Config()
	config.MaxConns = max(config.MaxConns, 8)
	queuePool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer queuePool.Close()
	queue, err := pgspool.Open(ctx, queuePool, &pgspool.Options{Logger: slog.Default()})
	if err != nil {
		return err
	}
	defer queue.Close()
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    queue,
		EventLog: relay.EventLog{Retention: 30 * 24 * time.Hour},
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{Hosts: []string{o.smartHost}},
		}},
		Logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	s := &shop{pool: pool, queue: queue, relay: r}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Open http://%s/ in a browser. Ctrl-C stops.\n", l.Addr())
	return s.serve(ctx, l)
}

// serve runs the page, the relay, and what follows its events, until ctx ends.
func (s *shop) serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: s.pages(), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return s.relay.Run(ctx) })
	all.Go(func() error { return s.relay.Follow(ctx, consumer, s.note) })
	all.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	all.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return server.Shutdown(stop)
	})
	return all.Wait()
}
