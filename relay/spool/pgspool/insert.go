package pgspool

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// errTaken answers a step whose wake row another node has taken.
var errTaken = errors.New("pgspool: another node has it")

const wakeText = `
DELETE FROM @wake WHERE n IN (
	SELECT n FROM @wake WHERE n = ANY ($1::bigint[]) ORDER BY n FOR UPDATE SKIP LOCKED)
RETURNING n`

// takeWakes takes what transactions of the application have left. A step whose
// row is gone is left out: another node has made its deliveries.
func (t *transaction) takeWakes(ctx context.Context) error {
	var rows []int64
	t.live(func(_ int, s *step) {
		if s.wake != 0 {
			rows = append(rows, s.wake)
		}
	})
	if len(rows) == 0 {
		return nil
	}
	taken, err := t.column(ctx, wakeText, rows)
	if err != nil {
		return err
	}
	t.live(func(i int, s *step) {
		if s.wake != 0 && !taken[s.wake] {
			t.fail(i, errTaken)
		}
	})
	return nil
}

// column returns the numbers that a statement returns.
func (t *transaction) column(ctx context.Context, sql string, args ...any) (map[int64]bool, error) {
	rows, err := t.query(ctx, t.conn, sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	set := make(map[int64]bool)
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		set[n] = true
	}
	return set, rows.Err()
}

// copyMessages writes messages, their content and their deliveries.
func (t *transaction) copyMessages(ctx context.Context) (err error) {
	messages, chunks, deliveries := &t.rows[0], &t.rows[1], &t.rows[2]
	messages.n, chunks.n, deliveries.n = 0, 0, 0
	defer func() {
		if err != nil { // the driver may still be reading
			t.rows = [3]copyRows{}
		}
	}()
	t.live(func(_ int, s *step) {
		m := s.message
		if m == nil {
			return
		}
		if m.meta != nil {
			messages.addMessage(m)
		}
		for i := range m.chunks {
			chunks.addChunk(m.id, &m.chunks[i])
		}
		for i := range m.deliveries {
			t.addDelivery(deliveries, m, i, &m.deliveries[i])
		}
		t.totals.Messages++
		t.totals.Bytes += m.size
		t.totals.Deliveries += int64(len(m.deliveries))
	})
	if deliveries.n == 0 {
		return nil
	}
	all := []table{
		{t.in("@message (id, parts, size, meta)"), messages},
		{t.in("@chunk (id, n, sum, data)"), chunks},
		{t.in("@delivery (id, seq, key, route, domain, stream, " +
			"at, due, expires, attempts, held, token, rcpt)"), deliveries},
	}
	if !t.staged() {
		return t.copyAll(ctx, all...)
	}
	if err = t.copyAll(ctx, all[0]); err == nil {
		err = t.nameStaged(ctx) // after the message: an id that is in use fails there
	}
	if err == nil {
		err = t.copyAll(ctx, all[1:]...)
	}
	return err
}

func (r *copyRows) addMessage(m *newMessage) {
	r.begin(4)
	r.bytes(m.id[:])
	r.int32(int32(len(m.deliveries)))
	r.int64(m.size)
	r.bytes(m.meta)
}

func (r *copyRows) addChunk(id spool.ID, c *chunk) {
	r.begin(4)
	r.bytes(id[:])
	r.int32(int32(c.n))
	r.int32(sumOf(c.data))
	r.bytes(c.data)
}

// addDelivery writes a delivery; it can be handed out when it is due, and not
// before now. One that is expected is leased.
func (t *transaction) addDelivery(r *copyRows, m *newMessage, seq int, d *spool.Delivery) {
	key, due := digest(d.Key), kept(d.Due)
	if due.IsZero() {
		due = t.now
	}
	at := due
	if at.Before(t.now) {
		at = t.now
	}
	var token int64
	rcpt := appendRecipients(nil, d.Recipients, d.Crashes)
	if ttl, first, ok := t.expected(m, d, key, due); ok {
		token, at = tokens(1)[0], t.now.Add(ttl+handLimit)
		t.leased = append(t.leased, &handedRow{
			deliveryRow: rowOf(m, seq, d, due, token, rcpt),
			key:         d.Key, digest: key, ttl: ttl, until: t.begun.Add(handLimit),
			first: first,
		})
	} else if !d.Held {
		t.due = append(t.due, dueKey{key: d.Key, at: at})
	}
	r.begin(13)
	r.bytes(m.id[:])
	r.int32(int32(seq))
	r.int64(key)
	r.text(d.Key.Route)
	r.text(d.Key.Domain)
	r.text(d.Key.Stream)
	r.time(at)
	r.time(due)
	r.time(d.Expires)
	r.int32(number(d.Attempts))
	r.bool(d.Held)
	r.int64(token)
	r.bytes(rcpt)
}

// rowOf is a delivery as it is read back.
func rowOf(
	m *newMessage, seq int, d *spool.Delivery, due time.Time, token int64, rcpt []byte,
) deliveryRow {
	size := m.size // without the rest, which has the content
	row := deliveryRow{
		id: m.id, seq: int32(seq), attempts: number(d.Attempts),
		route: []byte(d.Key.Route), domain: []byte(d.Key.Domain), stream: []byte(d.Key.Stream),
		due: stored(due), held: d.Held, token: token, rcpt: rcpt, meta: m.meta, size: &size,
	}
	if expires := stored(d.Expires); !expires.IsZero() {
		row.expires = &expires
	}
	return row
}

// stored is a time as the server gives it back.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.UnixMicro(kept(t).UnixMicro())
}

// number is what is kept of a count.
func number(n int) int32 { return int32(min(max(n, 0), math.MaxInt32)) }

// writeEvents leaves the events of all steps for the sequencer.
func (t *transaction) writeEvents(calls *calls) {
	var list blobs
	t.live(func(_ int, s *step) {
		list.add(s.events)
		for i := range s.settle {
			list.add(s.settle[i].Events)
		}
	})
	if len(list) == 0 {
		return
	}
	t.logged = true
	n, until, data := make([]int32, len(list)), make([]time.Time, len(list)),
		make([][]byte, len(list))
	for i := range list {
		n[i], until[i], data[i] = int32(list[i].n), list[i].until, list[i].data
	}
	calls.add(nil, "INSERT INTO @inbox (n, until, data) "+
		"SELECT * FROM unnest($1::int[], $2::timestamptz[], $3::bytea[])", n, until, data)
}
