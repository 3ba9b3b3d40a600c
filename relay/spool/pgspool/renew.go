package pgspool

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

// heldText finds leases in the order in which everybody locks them.
const heldText = `
WITH h AS MATERIALIZED (
	SELECT t.id, t.seq, t.ord FROM (
		SELECT * FROM unnest($1::uuid[], $2::int[], $3::bigint[])
			WITH ORDINALITY AS t (id, seq, token, ord)
		WHERE token <> 0 ORDER BY id, seq) t
	CROSS JOIN LATERAL (
		SELECT FROM @delivery WHERE id = t.id AND seq = t.seq AND token = t.token FOR UPDATE) d)
`

const renewText = heldText + `
UPDATE @delivery d SET at = @clock() + $4::interval FROM h
WHERE d.id = h.id AND d.seq = h.seq AND d.id = ANY ($1::uuid[])
RETURNING h.ord`

const returnText = heldText + `
UPDATE @delivery d SET token = 0, at = greatest(d.due, @clock() + $4::interval) FROM h
WHERE d.id = h.id AND d.seq = h.seq AND d.id = ANY ($1::uuid[])
RETURNING d.route, d.domain, d.stream, d.at, d.held`

func heldArgs(held []spool.Held, d time.Duration) []any {
	ids, seqs, tokens := make([]spool.ID, len(held)), make([]int32, len(held)),
		make([]int64, len(held))
	for i, h := range held {
		ids[i], seqs[i], tokens[i] = h.ID.Message, int32(h.ID.Seq), int64(h.Token)
	}
	return []any{ids, seqs, tokens, d.Round(time.Microsecond)}
}

// Renew makes leases last for ttl from now on.
func (s *Store) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) (lost []spool.Held, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	renewed := make(map[int64]bool, len(held))
	err = s.ask(ctx, func(rows pgx.Rows) error {
		var ord int64
		_, err := pgx.ForEachRow(rows, []any{&ord}, func() error {
			renewed[ord] = true
			return nil
		})
		return err
	}, renewText, heldArgs(held, ttl)...)
	if err != nil {
		return nil, failure(err)
	}
	for i, h := range held {
		if !renewed[int64(i+1)] {
			lost = append(lost, h)
		}
	}
	return lost, nil
}

// Return gives leases back.
func (s *Store) Return(ctx context.Context, wait time.Duration, held []spool.Held) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	return failure(s.back(ctx, wait, held))
}

// back gives leases back, and tells other processes of what is due at once.
func (s *Store) back(ctx context.Context, wait time.Duration, held []spool.Held) error {
	due, err := s.askDue(ctx, returnText, heldArgs(held, max(wait, 0))...)
	if err != nil {
		return err
	}
	s.ready.add(due...)
	if len(due) > 0 && wait <= 0 && s.teller.now(due[0].at, false, s.notifyLater) {
		go s.notifyLater(due[0].at, false) // the pool may be busy
	}
	return nil
}
