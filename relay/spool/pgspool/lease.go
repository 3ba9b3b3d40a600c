package pgspool

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	leaseKeys  = 64               // in one statement
	leaseCalls = 8                // statements in one Lease, at most
	leaseLimit = 20 * time.Second // for a Lease
	leaseGrace = 2 * time.Second  // for a statement that was begun
)

// leaseText leases due rows of some keys. The lease stands in the row that is
// locked: who reads the row next sees it. The planner is given no choice but
// the index on key and at, and to go from there to the rows. One that has
// changed since the statement began is left for the next. Rows are not
// compared as in (key, at) <= (…): the server goes on behind the end of that,
// up to the end of the key, where an old snapshot keeps the ends of all leases.
const leaseText = `
WITH want AS (
	SELECT * FROM unnest($1::bigint[], $2::timestamptz[]) WITH ORDINALITY AS w (key, floor, ord)),
found AS MATERIALIZED (
	SELECT w.ord, x.* FROM want w CROSS JOIN LATERAL (
		SELECT d.ctid AS row, d.id, d.seq, d.due FROM @delivery d
		WHERE d.key = w.key AND d.at > w.floor AND d.at <= @clock()
			AND NOT d.held AND d.due <= @clock()
		ORDER BY d.at LIMIT $3 FOR UPDATE SKIP LOCKED) x
	ORDER BY x.due, x.id, x.seq LIMIT $4),
chosen AS (SELECT f.*, row_number() OVER (ORDER BY due, id, seq) AS i FROM found f),
leased AS (
	UPDATE @delivery d SET token = ($5::bigint[])[c.i], at = @clock() + $6::interval
	FROM chosen c WHERE d.ctid = c.row
	RETURNING c.i, c.ord, d.id, d.seq, d.route, d.domain, d.stream, d.due,
		d.expires, d.attempts, d.held, d.token, d.rcpt)
SELECT l.*, m.size, m.meta FROM leased l
LEFT JOIN LATERAL (SELECT size, meta FROM @message WHERE id = l.id OFFSET 0) m ON true
ORDER BY l.i`

// nextText tells when keys have the next row, after what was leased. It may be
// due already: there was no room for it, or somebody had it locked. What is
// leased, the tick finds if its lease ends: here it would be looked for among
// all that was leased and settled, as long as an old snapshot keeps that. CASE
// is the condition of the index of what waits, and of no other.
const nextText = `
SELECT least(
	(SELECT d.at FROM @delivery d
	WHERE d.key = w.key AND d.at > w.floor
		AND CASE WHEN d.held THEN 1 ELSE d.token END = 0
	ORDER BY d.at LIMIT 1),
	(SELECT d.at FROM @delivery d
	WHERE d.key = w.key AND d.at > w.floor AND d.at <= @clock()
		AND NOT d.held AND d.due <= @clock()
	ORDER BY d.at LIMIT 1))
FROM unnest($1::bigint[], $2::timestamptz[]) WITH ORDINALITY AS w (key, floor, ord)
ORDER BY w.ord`

// Lease hands out due deliveries.
func (s *Store) Lease(ctx context.Context, q spool.LeaseRequest) (spool.Leased, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Leased{}, err
	}
	if err := s.watch.start(ctx, s); err != nil {
		return spool.Leased{}, failure(err)
	}
	caller := ctx
	ctx, done := unhurried(caller)
	defer done()
	var out spool.Leased
	w, before := wantedOf(&q), make(map[*readyKey]bool)
	inTable := w // what is handed of a key, and came before, goes first
	inTable.later = s.handed.ahead(&q, w)
	// What was leased already gets its part: many in the table do not hide it.
	most := q.Max - min(s.handed.fitting(&q, w), q.Max/2)
	for range leaseCalls {
		room := most - len(out.Leases)
		if room <= 0 || caller.Err() != nil {
			break
		}
		// More keys than there is room, so that what was due first is among
		// them where leases have ended.
		keys := min(2*room+8, leaseKeys)
		list := s.ready.pick(inTable, keys, before)
		if len(list) == 0 {
			break
		}
		leases, err := s.leaseOf(ctx, &q, list, room)
		out.Leases = append(out.Leases, leases...)
		if err != nil {
			return spool.Leased{}, s.unlease(out, failure(err))
		}
		if len(list) < keys { // those that are due since are for the next Lease
			break
		}
	}
	if err := caller.Err(); err != nil {
		return spool.Leased{}, s.unlease(out, err)
	}
	s.handed.used(len(out.Leases))
	s.handed.take(&q, w, &out, s.ready.idle)
	slices.SortStableFunc(out.Leases, func(a, b spool.Lease) int {
		return a.Delivery.Due.Compare(b.Delivery.Due)
	})
	// What is handed over from now on wakes whom is told to wait.
	if out.Wait = s.ready.wait(w); s.handed.fitting(&q, w) > 0 {
		out.Wait = 0
	}
	return out, nil
}

// unhurried is a context that ends a while after another: a statement that
// leases should not be broken off, because what it has leased would wait for
// the end of its leases.
func unhurried(ctx context.Context) (context.Context, func()) {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseLimit)
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(leaseGrace, cancel)
		context.AfterFunc(work, func() { t.Stop() })
	})
	return work, func() {
		stop()
		cancel()
	}
}

// unlease forgets what was leased before a failure: it is handed out again.
func (s *Store) unlease(out spool.Leased, err error) error {
	held := make([]spool.Held, len(out.Leases))
	for i := range out.Leases {
		held[i] = spool.Held{ID: out.Leases[i].Delivery.ID, Token: out.Leases[i].Token}
	}
	if len(held) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.back(ctx, 0, held) // also while the store is being closed
	}
	return err
}

// leaseOf leases due rows of the keys that were picked.
func (s *Store) leaseOf(
	ctx context.Context, q *spool.LeaseRequest, list []*asked, room int,
) ([]spool.Lease, error) {
	digests, floors := make([]int64, len(list)), make([]time.Time, len(list))
	for i, a := range list {
		digests[i], floors[i] = a.digest, a.floor
		if a.floor.IsZero() {
			floors[i] = time.UnixMicro(epoch)
		}
	}
	each := 2*room/len(list) + 2
	if several(list) { // each gets its part
		each = max(room/len(list), 1)
	}
	if q.MaxPerKey > 0 {
		each = min(each, q.MaxPerKey)
	}
	each = min(each, room)
	var leases []spool.Lease
	var now time.Time
	var calls calls
	calls.add(readNow(&now), "SELECT @clock(),"+planText)
	calls.add(readLeases(&leases, list), leaseText, digests, floors, each, room, tokens(room),
		q.TTL.Round(time.Microsecond))
	calls.add(readNext(list), nextText, digests, floors)
	if err := s.pooled(ctx, calls); err != nil {
		return leases, err
	}
	for _, a := range list {
		a.all = a.got < each && len(leases) < room
	}
	s.ready.learn(list, now)
	return leases, nil
}

// several reports whether there are several streams of one route and domain.
func several(list []*asked) bool {
	seen := make(map[spool.Key]bool, len(list))
	for _, a := range list {
		k := spool.Key{Route: a.key.Route, Domain: a.key.Domain}
		if seen[k] {
			return true
		}
		seen[k] = true
	}
	return false
}

// readNow reads the server's clock.
func readNow(now *time.Time) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{now, nil}, func() error { return nil })
		return err
	}
}

// readNext reads what nextText returns.
func readNext(list []*asked) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		i, at := 0, (*time.Time)(nil)
		_, err := pgx.ForEachRow(rows, []any{&at}, func() error {
			if at != nil {
				list[i].next = *at
			}
			i++
			return nil
		})
		return err
	}
}

// readLeases reads what leaseText returns.
func readLeases(out *[]spool.Lease, list []*asked) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var i, ord int64
		var row deliveryRow
		columns := append([]any{&i, &ord}, row.columns()...)
		_, err := pgx.ForEachRow(rows, columns, func() error {
			list[ord-1].got++
			*out = append(*out, row.lease())
			row = deliveryRow{}
			return nil
		})
		return err
	}
}

// deliveryRow is a row of delivery with those of its message.
type deliveryRow struct {
	id                    spool.ID
	seq, attempts         int32
	route, domain, stream []byte
	due                   time.Time
	expires               *time.Time
	held                  bool
	token                 int64
	rcpt, meta            []byte
	size                  *int64
}

func (r *deliveryRow) columns() []any {
	return []any{&r.id, &r.seq, &r.route, &r.domain, &r.stream, &r.due, &r.expires, &r.attempts,
		&r.held, &r.token, &r.rcpt, &r.size, &r.meta}
}

// lease decodes the row. What cannot be read makes it a damaged one.
func (r *deliveryRow) lease() spool.Lease {
	l := spool.Lease{Token: uint64(r.token)}
	l.Message, l.Delivery, l.Damaged = r.decode()
	return l
}

func (r *deliveryRow) decode() (spool.Message, spool.Delivery, error) {
	d := spool.Delivery{
		ID:  spool.DeliveryID{Message: r.id, Seq: int(r.seq)},
		Key: spool.Key{Route: string(r.route), Domain: string(r.domain), Stream: string(r.stream)},
		Due: r.due, Attempts: int(r.attempts), Held: r.held,
	}
	if r.expires != nil {
		d.Expires = *r.expires
	}
	rcpt, crashes, err := readRecipients(r.rcpt)
	if err != nil {
		return spool.Message{ID: r.id}, d, damagedRow("delivery", d.ID, err)
	}
	if r.size == nil {
		return spool.Message{ID: r.id}, d, damagedRow("message", d.ID, errMissing)
	}
	m, err := readMessage(r.meta)
	if err != nil {
		return spool.Message{ID: r.id}, d, damagedRow("message", d.ID, err)
	}
	m.ID, m.Size, d.Recipients, d.Crashes = r.id, *r.size, rcpt, crashes
	return m, d, nil
}

func damagedRow(table string, id spool.DeliveryID, err error) error {
	return fmt.Errorf("%w: table %s, delivery %v: %w", spool.ErrDamaged, table, id, err)
}

// tokens returns random ones.
func tokens(n int) []int64 {
	b := make([]byte, 8*n)
	rand.Read(b)
	list := make([]int64, n)
	for i := range list {
		v := binary.BigEndian.Uint64(b[8*i:]) & math.MaxInt64
		list[i] = int64(max(v, 1))
	}
	return list
}
