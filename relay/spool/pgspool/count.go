package pgspool

import (
	"context"

	"github.com/postern-mail/postern/relay/spool"
)

// counterUses is how often a row of counter is updated: where an old snapshot
// keeps the versions of a row, looking through them costs more and more.
const counterUses = 500

// count adds what the transaction has changed to the totals, nothing as well:
// the row tells that it was written.
func (t *transaction) count(list *calls) {
	t.counter = t.index + committers*(t.counted/counterUses)
	t.counted++
	list.add(nil, `
INSERT INTO @counter AS c (node, n, messages, deliveries, bytes) VALUES ($1::uuid, $2, $3, $4, $5)
ON CONFLICT (node, n) DO UPDATE SET messages = c.messages + excluded.messages,
	deliveries = c.deliveries + excluded.deliveries, bytes = c.bytes + excluded.bytes`,
		t.node, t.counter, t.totals.Messages, t.totals.Deliveries, t.totals.Bytes)
}

// Stats returns the totals.
func (s *Store) Stats(ctx context.Context) (st spool.Stats, err error) {
	if err := s.enter(ctx); err != nil {
		return st, err
	}
	err = s.row(ctx, s.pool, `
SELECT coalesce(sum(messages), 0)::bigint, coalesce(sum(deliveries), 0)::bigint,
	coalesce(sum(bytes), 0)::bigint,
	(SELECT count(*) FROM @delivery WHERE token <> 0 AND at > @clock())
FROM @counter`).Scan(&st.Messages, &st.Deliveries, &st.Bytes, &st.Leased)
	return st, failure(err)
}
