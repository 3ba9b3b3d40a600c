package filespool_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// twin is a queue in a directory and the same in memory.
type twin struct {
	*testing.T
	rand *rand.Rand
	dir  string
	file *filespool.Store
	mem  *memspool.Store
	now  time.Time
}

// Whatever keys a request names, of destinations of one stream and of several:
// the answer is the same.
func TestLeaseIsThatOfMemory(t *testing.T) {
	for seed := range uint64(4) {
		w := &twin{
			T: t, rand: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(),
			mem: memspool.New(nil), now: time.Now(),
		}
		w.open()
		for range 120 {
			for range w.rand.IntN(12) {
				w.put()
			}
			for range 5 {
				w.lease()
			}
			if w.rand.IntN(40) == 0 {
				if err := w.file.Close(); err != nil {
					t.Fatal(err)
				}
				w.open()
			}
		}
	}
}

func (w *twin) open() {
	w.file = open(w.T, w.dir, &filespool.Options{InsecureNoSync: true})
}

func (w *twin) key() spool.Key {
	k := spool.Key{Route: "r", Domain: string(rune('a' + w.rand.IntN(6)))}
	if w.rand.IntN(8) == 0 {
		k.Route = "other"
	}
	if k.Domain < "d" {
		k.Stream = []string{"", "s", "t", "u", "v"}[w.rand.IntN(5)]
	}
	return k
}

func (w *twin) keys(most int) (list []spool.Key) {
	for range w.rand.IntN(most + 1) {
		list = append(list, w.key())
	}
	return list
}

// put queues a message, most of them due.
func (w *twin) put() {
	due := w.now.Add(-time.Duration(w.rand.IntN(50)) * time.Second)
	if w.rand.IntN(10) == 0 {
		due = w.now.Add(time.Hour)
	}
	ds := []spool.Delivery{{
		Key: w.key(), Due: due, Expires: due.Add(48 * time.Hour),
		Recipients: []spool.Recipient{{Address: "x@example.org"}},
	}}
	if w.rand.IntN(3) == 0 {
		ds = append(ds, ds[0])
		ds[1].Key = w.key()
	}
	id := spool.NewID(w.now)
	put(w.T, w.file, id, nil, ds)
	put(w.T, w.mem, id, nil, ds)
}

// lease asks both for the same, then settles some of it and gives back the
// rest.
func (w *twin) lease() {
	r := spool.LeaseRequest{
		Max: 1 + w.rand.IntN(300), TTL: time.Hour, Busy: w.keys(4), MaxPerKey: w.rand.IntN(4),
	}
	if w.rand.IntN(2) == 0 {
		r.Only = w.keys(6)
	}
	if w.rand.IntN(4) == 0 {
		r.NotRoutes = []string{"other"}
	}
	if w.rand.IntN(2) == 0 {
		r.NotStreams = []string{"s", "u", ""}[:1+w.rand.IntN(3)]
	}
	got, want := w.ask(w.file, r), w.ask(w.mem, r)
	all := len(want.Leases) < r.Max // or else streams may come in another order
	if len(got.Leases) != len(want.Leases) || all && !slices.Equal(names(got), names(want)) {
		w.Fatalf("%+v answers\n%v, want\n%v", r, names(got), names(want))
	}
	if (got.Wait < 0) != (want.Wait < 0) || (got.Wait-want.Wait).Abs() > 10*time.Minute {
		w.Fatalf("%+v: wait %v, want %v", r, got.Wait, want.Wait)
	}
	for i := range got.Leases {
		settle := all && w.rand.IntN(3) == 0
		later := w.rand.IntN(4) == 0
		key := w.key()
		w.end(w.file, &got.Leases[i], settle, later, key)
		w.end(w.mem, &want.Leases[i], settle, later, key)
	}
}

func (w *twin) ask(s spool.Store, r spool.LeaseRequest) spool.Leased {
	got, err := s.Lease(w.Context(), r)
	if err != nil {
		w.Fatal(err)
	}
	return got
}

func names(l spool.Leased) (list []string) {
	for _, l := range l.Leases {
		d := l.Delivery
		list = append(list, fmt.Sprintf("%v/%d %v", d.ID.Message, d.ID.Seq, d.Key))
	}
	return list
}

// end finishes a delivery, moves it to another time and key, or gives it back.
func (w *twin) end(s spool.Store, l *spool.Lease, settle, later bool, key spool.Key) {
	var err error
	switch t := (spool.Settlement{ID: l.Delivery.ID, Token: l.Token}); {
	case settle && later:
		t.Remaining, t.Key, t.Due = l.Delivery.Recipients, &key, w.now.Add(-time.Second)
		err = s.Settle(w.Context(), t)
	case settle:
		err = s.Settle(w.Context(), t)
	default:
		err = s.Return(w.Context(), 0, []spool.Held{{ID: l.Delivery.ID, Token: l.Token}})
	}
	if err != nil {
		w.Fatal(err)
	}
}
