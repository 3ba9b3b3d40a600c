package pgspool_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// items are those of the model.
func (w *twin) items(q spool.Query) []spool.Item {
	return w.all(w.mem, q)
}

// all returns all pages.
func (w *twin) all(s spool.Manager, q spool.Query) (list []spool.Item) {
	w.t.Helper()
	for {
		page, err := s.List(w.t.Context(), q)
		w.must(err)
		if len(page) == 0 {
			return list
		}
		list = append(list, page...)
		q.After = page[len(page)-1].Delivery.ID
	}
}

// lease has a node lease, and checks that it may.
func (w *twin) lease() {
	w.request(spool.LeaseRequest{
		Max: 1 + w.rand.IntN(20), Only: w.keysOf(3), Busy: w.keysOf(4),
		MaxPerKey: w.rand.IntN(4), NotRoutes: []string{"", "a", "b"}[w.rand.IntN(3):][:1],
		NotStreams: []string{"none", "", "news"}[w.rand.IntN(3):][:1],
	})
}

func (w *twin) request(q spool.LeaseRequest) {
	w.t.Helper()
	q.TTL = w.ttl + time.Duration(w.rand.IntN(2))*twinStep
	got, err := w.node().Lease(w.t.Context(), q)
	w.must(err)
	can, per := make(map[spool.DeliveryID]bool), make(map[spool.Key]int)
	for _, i := range w.ripe() {
		can[i.Delivery.ID] = asksFor(&q, i.Delivery.Key)
	}
	for n, l := range got.Leases {
		d := l.Delivery
		if per[d.Key]++; !can[d.ID] || q.MaxPerKey > 0 && per[d.Key] > q.MaxPerKey {
			w.t.Fatalf("%+v\nis handed out to %+v", d, q)
		}
		if n > 0 && d.Due.Before(got.Leases[n-1].Delivery.Due) {
			w.t.Fatalf("%+v\ncomes too late", d)
		}
		w.lend(l, q.TTL)
	}
	if len(got.Leases) > q.Max {
		w.t.Fatalf("%d leases, at most %d", len(got.Leases), q.Max)
	}
}

// lend leases in the model what was leased.
func (w *twin) lend(l spool.Lease, ttl time.Duration) {
	w.t.Helper()
	id := l.Delivery.ID
	m, err := w.mem.Take(w.t.Context(), id, 1000*time.Hour)
	w.must(err)
	a := flat(spool.Item{Message: l.Message, Delivery: l.Delivery})
	b := flat(spool.Item{Message: m.Message, Delivery: m.Delivery})
	if !near(a, b) || l.Damaged != nil {
		w.t.Fatalf("leased %v, %v\nin memory %v", a, l.Damaged, b)
	}
	w.handed++
	delete(w.rest, id)
	delete(w.slow, id)
	w.leases[id] = twinLease{l.Token, m.Token, w.now().Add(ttl), m.Delivery.Due}
}

func asksFor(q *spool.LeaseRequest, k spool.Key) bool {
	has := func(list []spool.Key) bool {
		return slices.Contains(list, k) ||
			slices.Contains(list, spool.Key{Route: k.Route, Domain: k.Domain})
	}
	return !has(q.Busy) && (len(q.Only) == 0 || has(q.Only)) &&
		!slices.Contains(q.NotRoutes, k.Route) && !slices.Contains(q.NotStreams, k.Stream)
}

// ripe is what can be handed out.
func (w *twin) ripe() (list []spool.Item) {
	now := w.now()
	for _, i := range w.items(spool.Query{Max: 1000, State: spool.StateWaiting}) {
		if !i.Delivery.Due.After(now) && !w.rest[i.Delivery.ID].After(now) {
			list = append(list, i)
		}
	}
	return list
}

// findAll has all leased that some request wants.
func (w *twin) findAll() {
	w.t.Helper()
	q := spool.LeaseRequest{Busy: w.keysOf(6), Only: w.keysOf(2)}
	for start := time.Now(); ; {
		list := slices.DeleteFunc(w.ripe(), func(i spool.Item) bool {
			return !asksFor(&q, i.Delivery.Key) || w.slow[i.Delivery.ID]
		})
		w.found = max(w.found, time.Since(start))
		if len(list) == 0 {
			return
		}
		if time.Since(start) > twinLong {
			w.t.Fatalf("%d are due and not handed out to %+v, such as %+v", len(list), q, list[0])
		}
		q.Max, q.MaxPerKey = 1+w.rand.IntN(60), w.rand.IntN(5)
		w.request(q)
		time.Sleep(10 * time.Millisecond)
	}
}

// any is the id of a delivery that is there, or was.
func (w *twin) any() spool.DeliveryID {
	if len(w.ids) == 0 {
		return spool.DeliveryID{Message: spool.NewID(w.now())}
	}
	return spool.DeliveryID{Message: w.ids[w.rand.IntN(len(w.ids))], Seq: w.rand.IntN(3)}
}

func (w *twin) take() {
	id, ttl := w.any(), w.off()
	_, known := w.leases[id]
	l, err := w.node().Take(w.t.Context(), id, ttl)
	for begun := time.Now(); errors.Is(err, spool.ErrLeased) && !known; {
		if time.Since(begun) > twinLong {
			w.t.Fatalf("%v is leased, and to nobody", id)
		}
		time.Sleep(10 * time.Millisecond) // until what is expected goes back
		l, err = w.node().Take(w.t.Context(), id, ttl)
	}
	if err == nil && !known {
		w.lend(l, ttl)
		return
	}
	_, other := w.mem.Take(w.t.Context(), id, time.Hour)
	w.sameError(fmt.Sprint("Take ", id), err, other)
}

func (w *twin) find() {
	id := w.any().Message
	s := w.node()
	w.same("Find", func() ([]string, []string) {
		m, a, errA := s.Find(w.t.Context(), id)
		n, b, errB := w.mem.Find(w.t.Context(), id)
		w.sameError("Find", errA, errB)
		return append(flats(a), m.ID.String()), append(flats(b), n.ID.String())
	})
}

func (w *twin) list() {
	q := spool.Query{Max: 1 + w.rand.IntN(50), State: spool.State(w.rand.IntN(5))}
	if w.odds(2) {
		q.Key = w.key()
	}
	s := w.node()
	w.same(fmt.Sprintf("List %+v", q), func() ([]string, []string) {
		return flats(w.all(s, q)), flats(w.items(q))
	})
}

// compare compares all that both hold.
func (w *twin) compare() {
	w.t.Helper()
	for _, s := range w.nodes {
		w.same("List", func() ([]string, []string) {
			return flats(w.all(s, spool.Query{})), flats(w.items(spool.Query{}))
		})
		w.same("Stats", func() ([]string, []string) {
			a, err := s.Stats(w.t.Context())
			w.must(err)
			b, err := w.mem.Stats(w.t.Context())
			w.must(err)
			return []string{fmt.Sprintf("%+v;", a)}, []string{fmt.Sprintf("%+v;", b)}
		})
		w.same("Records", func() ([]string, []string) { return w.logged(s), w.logged(w.mem) })
	}
}

// logged are the events, those of transactions of the application behind all
// others: they come when a node takes them.
func (w *twin) logged(s spool.Log) (list []string) {
	var left []string
	for at := spool.Cursor(0); ; {
		page, err := s.Records(w.t.Context(), at, 100)
		w.must(err)
		if len(page) == 0 {
			slices.Sort(left)
			return append(list, left...)
		}
		for _, r := range page {
			at = r.At
			text := fmt.Sprint(string(r.Data), " ", r.Time.UnixMicro())
			if strings.HasPrefix(text, "tx") {
				left = append(left, text)
			} else {
				list = append(list, text)
			}
		}
	}
}

// same fails if both do not come to be the same.
func (w *twin) same(what string, f func() (got, want []string)) {
	w.t.Helper()
	for end := time.Now().Add(twinLong); ; time.Sleep(10 * time.Millisecond) {
		got, want := f()
		if slices.EqualFunc(got, want, near) {
			return
		}
		if time.Now().After(end) {
			other := func(list []string) func(string) bool {
				return func(a string) bool {
					return slices.ContainsFunc(list, func(b string) bool { return near(a, b) })
				}
			}
			w.t.Fatalf("%s: %d, in memory %d, but for\n%s\nin memory\n%s", what, len(got), len(
				want,
			),
				strings.Join(slices.DeleteFunc(slices.Clone(got), other(want)), "\n"),
				strings.Join(slices.DeleteFunc(slices.Clone(want), other(got)), "\n"))
		}
	}
}

func flats(list []spool.Item) (out []string) {
	for _, i := range list {
		out = append(out, flat(i))
	}
	return out
}

// flat is an item in words, of which the last is when it is due.
func flat(i spool.Item) string {
	m, d := i.Message, i.Delivery
	return fmt.Sprint(m.ID, m.From, m.Stream, m.Size, m.Created.UnixMicro(), " ", d.ID,
		d.Key, d.Recipients, d.Expires.UnixMicro(), " ", d.Attempts, d.Held, d.Crashes,
		i.State,
		" due ", d.Due.UnixMilli())
}

// near reports whether two are the same, but for some seconds.
func near(a, b string) bool {
	if a == b {
		return true
	}
	i, j := strings.LastIndex(a, " due "), strings.LastIndex(b, " due ")
	if i < 0 || i != j || a[:i] != b[:j] {
		return false
	}
	var m, n int64
	fmt.Sscan(a[i+5:], &m)
	fmt.Sscan(b[j+5:], &n)
	return max(m-n, n-m) < 10_000
}
