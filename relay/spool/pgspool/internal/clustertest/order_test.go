//go:build unix

package clustertest_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay"
)

var errChanged = errors.New("the customer has changed his mind")

// order puts orders with their mail into one transaction each until ctx ends.
func (a *app) order(ctx context.Context) {
	for ctx.Err() == nil {
		m := a.letters.next()
		err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error { return a.place(ctx, tx, m) })
		if err == nil {
			a.history.acknowledge(m.to...)
		} else {
			a.history.doubt(m.id, m.to)
		}
		wait(ctx, rand.N(200*time.Millisecond))
	}
}

// place is what happens in one transaction: some are rolled back, and some stay
// open for a while, so that others overtake them.
func (a *app) place(ctx context.Context, tx pgx.Tx, m *letter) error {
	if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ($1)", m.id); err != nil {
		return err
	}
	_, err := a.relay.SubmitIn(ctx, a.queue.Tx(tx), &relay.Message{
		From: m.from, To: m.to, Key: "order " + m.id, Content: bytes.NewReader(m.content),
	})
	if err != nil {
		return err
	}
	switch rand.N(30) {
	case 0, 1:
		return errChanged
	case 2:
		wait(ctx, rand.N(3*time.Second))
	}
	return nil
}

// resolve tells the history what became of the transactions whose answer was
// lost: an order that is there has its mail, one that is not has none.
func (a *app) resolve(ctx context.Context) error {
	for id, to := range a.history.doubts() {
		var there bool
		err := a.pool.QueryRow(
			ctx, "SELECT EXISTS (SELECT FROM orders WHERE id = $1)", id,
		).Scan(&there)
		switch {
		case err != nil:
			return err
		case there:
			a.history.acknowledge(to...)
		default:
			a.history.undo(to...)
		}
	}
	return nil
}
