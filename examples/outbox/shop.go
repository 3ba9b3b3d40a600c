package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

const (
	from     = "shop@example.com"
	consumer = "orders" // of the relay's events
)

var errSoldOut = errors.New("sold out, so there is neither an order nor mail")

//go:embed schema.sql
var schema string

type shop struct {
	pool  *pgxpool.Pool
	queue *pgspool.Store
	relay *relay.Relay
}

type order struct {
	ID, Item, To string
	Placed       time.Time
	Mail, Detail string // what became of the mail
}

// migrate makes the shop's own tables. Programs that start together take turns.
func (s *shop) migrate(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, "SELECT pg_advisory_xact_lock(8026);"+schema)
	return err
}

// place takes an order.
func (s *shop) place(ctx context.Context, o order) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return s.placeIn(ctx, tx, o) })
}

// placeIn takes an order and sends its confirmation: both, or neither. The same
// order placed again changes nothing.
func (s *shop) placeIn(ctx context.Context, tx pgx.Tx, o order) error {
	receipt, err := s.relay.SubmitIn(ctx, s.queue.Tx(tx), o.confirmation())
	if err != nil || receipt.Duplicate {
		return err
	}
	if _, err := tx.Exec(ctx,
		"INSERT INTO shop.orders (id, item, buyer) VALUES ($1, $2, $3)", o.ID, o.Item, o.To,
	); err != nil {
		return err
	}
	taken, err := tx.Exec(ctx,
		"UPDATE shop.items SET stock = stock - 1 WHERE name = $1 AND stock > 0", o.Item)
	if err == nil && taken.RowsAffected() == 0 {
		err = errSoldOut // the mail is not sent, though it was submitted
	}
	return err
}

// confirmation writes the mail of an order. It is the same each time, so that
// the relay knows an order that is placed again by its Key.
func (o *order) confirmation() *relay.Message {
	return &relay.Message{
		From: from, To: []string{o.To},
		Key: o.ID, Stream: "orders", Labels: map[string]string{"order": o.ID},
		Notify: spool.NotifyNever, // the page tells
		Content: strings.NewReader(fmt.Sprintf(
			"From: %s\nTo: %s\nSubject: Your order %s\n\nThank you for your order: %s.\n",
			from, &mail.Address{Address: o.To}, o.ID, o.Item,
		)),
	}
}

// note writes down what became of mail, and moves the shop's place in the log
// with it: each event counts once.
func (s *shop) note(ctx context.Context, events []event.Event) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		log := s.queue.Tx(tx)
		place, err := log.Cursor(ctx, consumer)
		if err != nil {
			return err
		}
		for _, e := range events {
			if spool.Cursor(e.Cursor) <= place {
				continue // noted, and nobody has heard of it
			}
			if _, err := tx.Exec(ctx,
				"UPDATE shop.orders SET mail = $2, detail = $3, told = told + 1 WHERE id = $1",
				e.Labels["order"], e.Kind.String(), e.Text,
			); err != nil {
				return err
			}
			place = spool.Cursor(e.Cursor)
		}
		return log.Advance(ctx, consumer, place)
	})
}

// orders returns the newest first.
func (s *shop) orders(ctx context.Context) ([]order, error) {
	rows, err := s.pool.Query(ctx, "SELECT id, item, buyer, placed, mail, detail "+
		"FROM shop.orders ORDER BY placed DESC LIMIT 50")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[order])
}
