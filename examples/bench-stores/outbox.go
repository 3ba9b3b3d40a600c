package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

const (
	offered   = 200 // transactions per second
	customers = 50  // connections of the application
)

// outbox measures what a message adds to the application's own transaction. A
// relay delivers all of them meanwhile.
func (b *bench) outbox() scenario {
	return scenario{
		title: "Outbox: SubmitIn in the application's transaction, 200/s over 50 connections",
		columns: []column{
			{"an order alone: median, ms", 2}, {"with its mail: median, ms", 2},
			{"beyond: median, ms", 2}, {"90 %, ms", 2},
		},
		subjects: []subject{{"pgspool", b.outboxOnce}},
		targets:  []target{atMost("beyond the own commit, ms, at most 5", "pgspool", 2, 5)},
	}
}

// shop is the application.
type shop struct {
	pool  *pgxpool.Pool
	relay *relay.Relay
	queue *pgspool.Store
	texts []string
}

func (b *bench) outboxOnce(ctx context.Context) (f figures, err error) {
	pool, drop, err := b.server.pool(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	app, err := connect(ctx, pool.Config().ConnString(), customers)
	if err != nil {
		return nil, err
	}
	defer app.Close()
	if _, err := app.Exec(
		ctx, "CREATE TABLE orders (id bigserial PRIMARY KEY, item text)",
	); err != nil {
		return nil, err
	}
	q, err := openPool(ctx, pool)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: q, Transport: taken{},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	f, err = b.sell(ctx, &shop{app, r, q, texts()})
	cancel()
	return f, errors.Join(err, <-ended)
}

// sell takes orders alone and with their mail, in turns, at the rate offered.
func (b *bench) sell(ctx context.Context, s *shop) (figures, error) {
	var mu sync.Mutex
	var took [2][]time.Duration
	n := max(200, int(b.window.Seconds()*offered))
	begin := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for i := range n {
		at := begin.Add(time.Duration(i) * time.Second / offered)
		time.Sleep(time.Until(at))
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			err := s.order(ctx, i%2 == 1, s.texts[i%len(s.texts)])
			mu.Lock()
			defer mu.Unlock()
			took[i%2] = append(took[i%2], time.Since(at))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	alone, with := quantile(took[0], 0.5), quantile(took[1], 0.5)
	return figures{
		milliseconds(alone), milliseconds(with), milliseconds(with - alone),
		milliseconds(quantile(took[1], 0.9) - quantile(took[0], 0.9)),
	}, nil
}

// order keeps an order, with its mail or without, in one transaction.
func (s *shop) order(ctx context.Context, mail bool, text string) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders (item) VALUES ($1)", "a book"); err != nil ||
			!mail {
			return err
		}
		_, err := s.relay.SubmitIn(ctx, s.queue.Tx(tx), &relay.Message{
			From: "shop@example.com", To: []string{"anna@example.net"},
			Content: strings.NewReader(
				"From: shop@example.com\r\nSubject: Your order\r\n\r\n" + text,
			),
		})
		return err
	})
}

// taken takes everything.
type taken struct{}

func (taken) Deliver(_ context.Context, a *delivery.Attempt) []delivery.Result {
	list := make([]delivery.Result, len(a.Recipients))
	for i := range list {
		list[i].Delivered = true
	}
	return list
}
