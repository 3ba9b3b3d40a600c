package pgspool

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// handLimit is how long a delivery that was leased by its commit waits for the
// next Lease. Its lease lasts for that much longer than was asked for.
const handLimit = time.Second

// handed are deliveries that were leased by their commits, because somebody
// expects them. They wait for the next Lease, with what the commit has written.
// What is not asked for soon goes back to the others.
type handed struct {
	mu       sync.Mutex
	expected spool.Expected
	room     int               // of what is expected
	keys     map[spool.Key]int // deliveries that it was used for
	booked   map[spool.Key]int // those in transactions that are not committed yet
	list     []*handedRow
	slow     map[spool.Key]bool // some of them went back a moment ago
	doubtful []*handedRow       // they may be written yet, and nobody gets them
	ended    bool
}

// handedRow is a delivery that was leased by its commit.
type handedRow struct {
	deliveryRow
	key    spool.Key
	digest int64 // of key
	ttl    time.Duration
	until  time.Time // when it goes back; by our clock
	first  bool      // nothing of its key waited in the table
}

var _ spool.Expecter = (*Store)(nil)

// Expect tells what the caller is ready to lease of what is committed to this
// store: it is leased by its commit, and handed out by the next Lease.
func (s *Store) Expect(e spool.Expected) {
	s.watch.begin(s) // it gives back what nobody asks for
	s.handed.expect(e)
}

func (h *handed) expect(e spool.Expected) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return
	}
	h.expected, h.room = e, max(e.Max-len(h.list), 0)
	h.keys = make(map[spool.Key]int, len(h.keys))
	maps.Copy(h.keys, h.booked)
	for _, n := range h.booked {
		h.room -= n
	}
	for _, r := range h.list {
		h.keys[r.key]++
	}
}

// wants tells how many of a key are expected.
func (h *handed) wants(k spool.Key) int {
	e := &h.expected
	if slices.Contains(e.NotRoutes, k.Route) || slices.Contains(e.NotStreams, k.Stream) {
		return 0
	}
	if n, ok := e.Keys[spool.Key{Route: k.Route, Domain: k.Domain}]; ok {
		return n
	}
	return e.Others
}

// used notes that so many were leased in another way.
func (h *handed) used(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.room = max(h.room-n, 0)
}

// end has nothing expected and nothing handed out from now on.
func (h *handed) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended, h.room = true, 0
}

// book takes a place, if one more of a key is expected where so many wait in
// the table, and returns for how long to lease. A place that is booked is
// filled or given up.
func (h *handed) book(k spool.Key, waiting int) (ttl time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.room <= 0 || h.keys[k]+waiting >= h.wants(k) || h.slow[k] {
		return 0, false
	}
	if h.booked == nil {
		h.booked = make(map[spool.Key]int)
	}
	h.room--
	h.keys[k]++
	h.booked[k]++
	return h.expected.TTL, true
}

// fill fills places that were booked, giveUp gives them up.
func (h *handed) fill(list []*handedRow) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unbook(list)
	h.list = append(h.list, list...)
}

func (h *handed) giveUp(list []*handedRow) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unbook(list)
}

// doubt gives up places of what may be written yet: that goes back again and
// again until its leases would have ended.
func (h *handed) doubt(list []*handedRow) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unbook(list)
	h.doubtful = append(h.doubtful, list...)
}

func (h *handed) unbook(list []*handedRow) {
	for _, r := range list {
		if h.booked[r.key]--; h.booked[r.key] == 0 {
			delete(h.booked, r.key)
		}
	}
}

// ahead are the keys of which something is handed that a request wants, and
// that goes before what waits of them in the table.
func (h *handed) ahead(q *spool.LeaseRequest, w wanted) (keys map[spool.Key]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, r := range h.list {
		if r.first && r.fits(q, w, now) {
			if keys == nil {
				keys = make(map[spool.Key]bool)
			}
			keys[r.key] = true
		}
	}
	return keys
}

// take hands out what a request wants, those that are due first. What is handed
// of a key of which something waited in the table comes after that.
func (h *handed) take(
	q *spool.LeaseRequest, w wanted, out *spool.Leased, idle func(digest int64) bool,
) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended || len(h.list) == 0 || len(out.Leases) >= q.Max {
		return
	}
	slices.SortFunc(h.list, (*handedRow).compare)
	if len(h.list) > q.Max-len(out.Leases) { // else all have a place
		takeTurns(h.list)
	}
	now, keys := time.Now(), make(map[spool.Key]int)
	for i := range out.Leases {
		keys[out.Leases[i].Delivery.Key]++
	}
	h.list = slices.DeleteFunc(h.list, func(r *handedRow) bool {
		if len(out.Leases) >= q.Max || q.MaxPerKey > 0 && keys[r.key] >= q.MaxPerKey ||
			!r.fits(q, w, now) || !r.first && !idle(r.digest) {
			return false
		}
		keys[r.key]++
		out.Leases = append(out.Leases, r.lease())
		return true
	})
}

// takeTurns has the streams of a route and domain take turns for the places
// that these have in a list.
func takeTurns(list []*handedRow) {
	site := func(r *handedRow) spool.Key {
		return spool.Key{Route: r.key.Route, Domain: r.key.Domain}
	}
	before, turn := make(map[spool.Key]int), make(map[*handedRow]int, len(list))
	rows := make(map[spool.Key][]*handedRow)
	for _, r := range list {
		turn[r] = before[r.key]
		before[r.key]++
		rows[site(r)] = append(rows[site(r)], r)
	}
	for _, own := range rows {
		slices.SortStableFunc(own, func(a, b *handedRow) int {
			return cmp.Compare(turn[a], turn[b])
		})
	}
	for i, r := range list {
		k := site(r)
		list[i], rows[k] = rows[k][0], rows[k][1:]
	}
}

// compare orders as Lease does.
func (r *handedRow) compare(o *handedRow) int {
	return cmp.Or(
		r.due.Compare(o.due), bytes.Compare(r.id[:], o.id[:]), cmp.Compare(r.seq, o.seq),
	)
}

// fits reports whether a request wants it as it is leased.
func (r *handedRow) fits(q *spool.LeaseRequest, w wanted, now time.Time) bool {
	return r.until.After(now) && r.ttl >= q.TTL && w.has(r.key)
}

// fitting is how many wait that a request wants.
func (h *handed) fitting(q *spool.LeaseRequest, w wanted) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, r := range h.list {
		if !h.ended && r.fits(q, w, now) {
			n++
		}
	}
	return n
}

// late are those that have waited for too long: until after a time.
func (h *handed) late(now time.Time) (held []spool.Held) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slow = make(map[spool.Key]bool)
	for _, r := range h.list {
		if !r.until.After(now) {
			held = append(held, r.held())
			h.slow[r.key] = true
		}
	}
	h.doubtful = slices.DeleteFunc(h.doubtful, func(r *handedRow) bool {
		return r.until.Add(r.ttl).Before(now)
	})
	for _, r := range h.doubtful {
		held = append(held, r.held())
	}
	return held
}

// drop forgets those that have gone back.
func (h *handed) drop(held []spool.Held) {
	h.mu.Lock()
	defer h.mu.Unlock()
	gone := make(map[spool.Held]bool, len(held))
	for _, v := range held {
		gone[v] = true
	}
	h.list = slices.DeleteFunc(h.list, func(r *handedRow) bool { return gone[r.held()] })
}

func (r *handedRow) held() spool.Held {
	return spool.Held{
		ID:    spool.DeliveryID{Message: r.id, Seq: int(r.seq)},
		Token: uint64(r.token),
	}
}

// expected reports whether a delivery that is due at a time is expected now,
// for how long to lease it, and whether it is the first of its key.
func (t *transaction) expected(
	m *newMessage, d *spool.Delivery, key int64, due time.Time,
) (ttl time.Duration, first, ok bool) {
	if d.Held || m.meta == nil || due.After(t.now) {
		return 0, false, false
	}
	waiting := t.ready.waiting(key)
	ttl, ok = t.handed.book(d.Key, waiting)
	return ttl, waiting == 0, ok
}

// handOver gives what was leased to the next Lease.
func (t *transaction) handOver() {
	if len(t.leased) > 0 {
		t.handed.fill(t.leased)
		t.ready.rouse()
		t.leased = nil
	}
}

// takeBack gives back what nobody has asked for.
func (s *Store) takeBack(ctx context.Context) (time.Duration, error) {
	return handLimit, s.giveBack(ctx, s.handed.late(time.Now()))
}

// giveBackAll gives back all, when the store ends, also where its committers
// had to be stopped.
func (s *Store) giveBackAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), notifyLimit)
	defer cancel()
	return s.giveBack(ctx, s.handed.late(time.Now().Add(2*handLimit)))
}

func (s *Store) giveBack(ctx context.Context, held []spool.Held) error {
	if len(held) == 0 {
		return nil
	}
	err := s.back(ctx, 0, held)
	if err == nil {
		s.handed.drop(held)
	}
	return err
}
