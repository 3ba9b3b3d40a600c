package main

import (
	"context"
	"errors"
)

// accept commits messages durably and nothing else.
func (b *bench) accept() scenario {
	n := b.messages(20_000)
	into := func(open opener, events bool) func(context.Context) (figures, error) {
		return func(ctx context.Context) (figures, error) {
			return b.acceptInto(ctx, open, newMail(events), n)
		}
	}
	return scenario{
		title:   "Accept: 100 sessions, 10 KB, durable",
		columns: costs(),
		subjects: []subject{
			{"pgspool", into(b.openPostgres, false)},
			{"pgspool, events", into(b.openPostgres, true)},
			{"filespool", into(b.openDirectory, false)},
			{"filespool, events", into(b.openDirectory, true)},
		},
		targets: []target{atLeast("accepted per second, at least 3,000", "pgspool", rate, 3000)},
	}
}

func (b *bench) acceptInto(ctx context.Context, open opener, m *mail, n int) (figures, error) {
	q, err := open(ctx)
	if err != nil {
		return nil, err
	}
	f, err := b.acceptN(ctx, q, m, n)
	return f, errors.Join(err, q.close())
}

func (b *bench) acceptN(ctx context.Context, q *queue, m *mail, n int) (figures, error) {
	if err := m.sendAll(ctx, q, n/20); err != nil { // connections open
		return nil, err
	}
	meter, err := b.measure()
	if err != nil {
		return nil, err
	}
	if err := m.sendAll(ctx, q, n); err != nil {
		return nil, err
	}
	return meter.end(n)
}
