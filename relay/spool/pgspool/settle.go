package pgspool

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

// lockText locks the deliveries that are to be settled, in the order in which
// everybody locks them. Those with another token are not among them.
//
// The planner has no choice but to look each row up, here and below: a table
// with few rows it would rather read whole, and an old snapshot keeps all that
// were ever in its index.
const lockText = `
SELECT t.ord, coalesce(m.parts, 0), coalesce(m.size, 0)
FROM (
	SELECT * FROM unnest($1::uuid[], $2::int[], $3::bigint[])
		WITH ORDINALITY AS t (id, seq, token, ord)
	WHERE token <> 0 ORDER BY id, seq) t
CROSS JOIN LATERAL (
	SELECT FROM @delivery WHERE id = t.id AND seq = t.seq AND token = t.token FOR UPDATE) d
LEFT JOIN LATERAL (SELECT parts, size FROM @message WHERE id = t.id OFFSET 0) m ON true`

// finished are deliveries without recipients left, and their messages.
type finished struct {
	ids             []spool.ID
	seqs            []int32
	whole           []spool.ID // messages of one delivery, which go with it
	shared          []spool.ID // messages of several
	messages, bytes int64      // of whole
}

// deferred are deliveries that are due again.
type deferred struct {
	ids                   []spool.ID
	seqs, attempts        []int32
	due                   []time.Time
	held                  []bool
	rcpt                  [][]byte
	key                   []*int64 // nil keeps it
	route, domain, stream [][]byte
}

// heldRow is what lock tells of a delivery.
type heldRow struct {
	parts int32
	size  int64
}

// lock finds out which settlements hold their leases. A step of which one does
// not is left out; others may be yet, so that nothing is settled before end
// gathers it.
func (t *transaction) lock(list *calls) map[int64]heldRow {
	var ids []spool.ID
	var seqs []int32
	var tokens []int64
	t.live(func(_ int, s *step) {
		for i := range s.settle {
			ids = append(ids, s.settle[i].ID.Message)
			seqs = append(seqs, int32(s.settle[i].ID.Seq))
			tokens = append(tokens, int64(s.settle[i].Token))
		}
	})
	if len(ids) == 0 {
		return nil
	}
	held := make(map[int64]heldRow, len(ids))
	list.add(func(rows pgx.Rows) error {
		var ord int64
		var row heldRow
		_, err := pgx.ForEachRow(rows, []any{&ord, &row.parts, &row.size}, func() error {
			held[ord] = row
			return nil
		})
		return err
	}, lockText, ids, seqs, tokens)
	return held
}

// sort keeps what is known of the settlements of each step that holds all its
// leases.
func (t *transaction) sort(held map[int64]heldRow) {
	ord, used := int64(0), make(map[spool.DeliveryID]bool, len(held))
	t.live(func(i int, s *step) {
		first := ord + 1
		ord += int64(len(s.settle))
		for n := range s.settle {
			if _, ok := held[first+int64(n)]; !ok || used[s.settle[n].ID] || twice(s.settle, n) {
				t.fail(i, spool.ErrLeaseLost)
				return
			}
		}
		for n := range s.settle {
			used[s.settle[n].ID] = true
			t.held[i] = append(t.held[i], held[first+int64(n)])
		}
	})
}

// end gathers the settlements of the steps that no longer can be left out.
func (t *transaction) end(context.Context) error {
	t.live(func(i int, s *step) {
		for n := range s.settle {
			t.apply(&s.settle[n], t.held[i][n])
		}
	})
	return nil
}

// twice reports whether a settlement has one for the same delivery before it.
func twice(list []spool.Settlement, n int) bool {
	for i := range list[:n] {
		if list[i].ID == list[n].ID {
			return true
		}
	}
	return false
}

func (t *transaction) apply(s *spool.Settlement, row heldRow) {
	if len(s.Remaining) > 0 {
		t.defers.add(s, t.now)
		return
	}
	f := &t.finish
	f.ids, f.seqs = append(f.ids, s.ID.Message), append(f.seqs, int32(s.ID.Seq))
	t.totals.Deliveries--
	if row.parts <= 1 { // 0 where somebody has deleted the message
		f.whole = append(f.whole, s.ID.Message)
		f.messages += int64(row.parts)
		f.bytes += row.size
		return
	}
	f.shared = append(f.shared, s.ID.Message)
}

func (d *deferred) add(s *spool.Settlement, now time.Time) {
	d.ids, d.seqs = append(d.ids, s.ID.Message), append(d.seqs, int32(s.ID.Seq))
	d.attempts = append(d.attempts, number(s.Attempts))
	d.held = append(d.held, s.Held)
	d.rcpt = append(d.rcpt, appendRecipients(nil, s.Remaining, s.Crashes))
	due := s.Due
	if due.IsZero() {
		due = now.Add(max(s.Wait, 0))
	}
	d.due = append(d.due, kept(due))
	if s.Key == nil {
		d.key = append(d.key, nil)
		d.route, d.domain, d.stream = append(d.route, nil), append(
			d.domain, nil,
		), append(d.stream, nil)
		return
	}
	k := digest(*s.Key)
	d.key = append(d.key, &k)
	d.route = append(d.route, []byte(s.Key.Route))
	d.domain = append(d.domain, []byte(s.Key.Domain))
	d.stream = append(d.stream, []byte(s.Key.Stream))
}

const finishText = `
WITH d AS (
	DELETE FROM @delivery WHERE ctid = ANY (ARRAY (
		SELECT d.ctid FROM unnest($1::uuid[], $2::int[]) AS t (id, seq)
		CROSS JOIN LATERAL (
			SELECT ctid FROM @delivery WHERE id = t.id AND seq = t.seq OFFSET 0) d))),
c AS (DELETE FROM @chunk WHERE id = ANY ($3::uuid[]))
DELETE FROM @message WHERE id = ANY ($3::uuid[])`

const deferText = `
UPDATE @delivery d SET
	token = 0, due = t.due, at = greatest(t.due, @clock()), attempts = t.attempts, held = t.held,
	rcpt = t.rcpt, key = coalesce(t.key, d.key), route = coalesce(t.route, d.route),
	domain = coalesce(t.domain, d.domain), stream = coalesce(t.stream, d.stream)
FROM unnest($1::uuid[], $2::int[], $3::int[], $4::timestamptz[], $5::bool[], $6::bytea[],
	$7::bigint[], $8::bytea[], $9::bytea[], $10::bytea[])
	AS t (id, seq, attempts, due, held, rcpt, key, route, domain, stream)
CROSS JOIN LATERAL (SELECT ctid FROM @delivery WHERE id = t.id AND seq = t.seq OFFSET 0) x
WHERE d.ctid = x.ctid
RETURNING d.route, d.domain, d.stream, d.at, d.held`

// settle ends the leases.
func (t *transaction) settle(ctx context.Context) error {
	if f := &t.finish; len(f.ids) > 0 {
		if err := t.delete(ctx, f); err != nil {
			return err
		}
		t.totals.Messages -= f.messages
		t.totals.Bytes -= f.bytes
	}
	d := &t.defers
	if len(d.ids) == 0 {
		return nil
	}
	rows, err := t.query(ctx, t.conn, deferText, d.ids, d.seqs, d.attempts, d.due, d.held, d.rcpt,
		d.key, d.route, d.domain, d.stream)
	if err != nil {
		return err
	}
	due, err := readDue(rows)
	t.due = append(t.due, due...)
	return err
}

// delete forgets what is finished, in the round trip that commits unless there
// is more to do about it before.
func (t *transaction) delete(ctx context.Context, f *finished) error {
	if len(f.shared) == 0 {
		t.last.add(nil, finishText, f.ids, f.seqs, f.whole)
		return nil
	}
	_, err := t.exec(ctx, t.conn, finishText, f.ids, f.seqs, f.whole)
	return err
}

// readDue reads rows of route, domain, stream, at and held.
func readDue(rows pgx.Rows) (list []dueKey, err error) {
	var route, domain, stream []byte
	var at time.Time
	var held bool
	_, err = pgx.ForEachRow(rows, []any{&route, &domain, &stream, &at, &held}, func() error {
		if !held {
			k := spool.Key{Route: string(route), Domain: string(domain), Stream: string(stream)}
			list = append(list, dueKey{key: k, at: at})
		}
		return nil
	})
	return list, err
}

// lockMessages locks the messages of several deliveries of which some end: who
// ends the last one must know that it is the last.
func (t *transaction) lockMessages(ctx context.Context) error {
	if len(t.finish.shared) == 0 {
		return nil
	}
	_, err := t.exec(ctx, t.conn,
		"SELECT FROM @message WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE", t.finish.shared)
	return err
}

const dropText = `
WITH m AS (
	DELETE FROM @message m WHERE id = ANY ($1::uuid[])
		AND NOT EXISTS (SELECT FROM @delivery d WHERE d.id = m.id AND d.id = ANY ($1::uuid[]))
	RETURNING id, size),
c AS (DELETE FROM @chunk WHERE id = ANY (ARRAY (SELECT id FROM m)))
SELECT count(*), coalesce(sum(size), 0)::bigint FROM m`

// dropMessages forgets messages of several deliveries that have none left.
func (t *transaction) dropMessages(ctx context.Context) error {
	if len(t.finish.shared) == 0 {
		return nil
	}
	var n, bytes int64
	err := t.row(ctx, t.conn, dropText, t.finish.shared).Scan(&n, &bytes)
	t.totals.Messages -= n
	t.totals.Bytes -= bytes
	return err
}

// Settle ends a lease.
func (s *Store) Settle(ctx context.Context, t spool.Settlement) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if err := checkRecords(t.Events); err != nil {
		return err
	}
	return s.do(ctx, &step{settle: []spool.Settlement{t}})
}
