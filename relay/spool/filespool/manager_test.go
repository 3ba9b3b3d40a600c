package filespool_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// queueUp stores messages with two deliveries each, the second one on hold.
func queueUp(t *testing.T, s spool.Store, n int) (ids []spool.ID) {
	t.Helper()
	for i := range n {
		id := spool.NewID(time.UnixMilli(int64(1_000_000 + i)))
		ds := append(deliveries("out", time.Now()), deliveries("in", time.Now())...)
		ds[0].Key.Stream, ds[1].Held = []string{"news", "mail"}[i%2], true
		put(t, s, id, make([]byte, 500), ds)
		ids = append(ids, id)
	}
	return ids
}

// list reads all pages of a query.
func list(t *testing.T, s spool.Manager, q spool.Query) (items []spool.Item) {
	t.Helper()
	for {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return items
		}
		items = append(items, page...)
		q.After = page[len(page)-1].Delivery.ID
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), nil)
	ids := queueUp(t, s, 25)
	all := list(t, s, spool.Query{Max: 7})
	if len(all) != 50 || !slices.IsSortedFunc(all, func(a, b spool.Item) int {
		return 2*a.Message.ID.Compare(b.Message.ID) + (a.Delivery.ID.Seq - b.Delivery.ID.Seq)
	}) {
		t.Errorf("%d items", len(all))
	}
	for i, v := range all {
		held := v.Delivery.ID.Seq == 1
		if v.Message.ID != ids[i/2] || v.Delivery.Held != held ||
			held != (v.State == spool.StateHeld) || len(v.Delivery.Recipients) != 1 {
			t.Errorf("item %d: %+v", i, v)
		}
	}
	if _, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 3, TTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q    spool.Query
		want int
	}{
		{spool.Query{State: spool.StateHeld}, 25},
		{spool.Query{State: spool.StateLeased}, 3},
		{spool.Query{State: spool.StateWaiting}, 22},
		{spool.Query{Key: spool.Key{Route: "in"}}, 25},
		{spool.Query{Key: spool.Key{Stream: "news"}, Max: 1000}, 13},
		{spool.Query{Key: spool.Key{Stream: "news"}, State: spool.StateHeld}, 0},
		{spool.Query{After: spool.DeliveryID{Message: ids[23], Seq: 1}}, 2},
	} {
		if got := list(t, s, c.q); len(got) != c.want {
			t.Errorf("%+v: %d items, want %d", c.q, len(got), c.want)
		}
	}
}

// TestHeldStays keeps deliveries on hold out of Lease, also when their record
// is copied and at the next start, until they are released.
func TestHeldStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := &filespool.Options{SegmentBytes: 8 << 10, MinFree: -1, SettleDelay: time.Millisecond}
	s := open(t, dir, o)
	ids := queueUp(t, s, 3)
	drain(t, s)
	for range 200 { // so that the log is thinned
		put(t, s, spool.NewID(time.Now()), make([]byte, 500), deliveries("x", time.Now()))
		drain(t, s)
	}
	s.Flush()
	for range 2 {
		items := list(t, s, spool.Query{})
		if len(items) != 3 || items[0].State != spool.StateHeld || items[2].Message.ID != ids[2] {
			t.Fatalf("%+v", items)
		}
		s.Close()
		s = open(t, dir, o)
		if n := drain(t, s); n != 0 {
			t.Fatalf("%d deliveries on hold were handed out", n)
		}
	}
	release(t, s, spool.DeliveryID{Message: ids[1], Seq: 1})
	s.Close()
	s = open(t, dir, o)
	if n := drain(t, s); n != 1 {
		t.Errorf("%d deliveries were handed out, want the one released", n)
	}
}

// What was set aside after crashes stays so, also when its record is copied,
// and at the next start.
func TestPoisonStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := &filespool.Options{SegmentBytes: 8 << 10, MinFree: -1, SettleDelay: time.Millisecond}
	s := open(t, dir, o)
	ids := queueUp(t, s, 1)
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
	if err != nil || len(l.Leases) != 1 {
		t.Fatal(l, err)
	}
	if err := s.Settle(t.Context(), spool.Settlement{
		ID: l.Leases[0].Delivery.ID, Token: l.Leases[0].Token, Attempts: 2, Held: true,
		Remaining: l.Leases[0].Delivery.Recipients, Crashes: 20,
	}); err != nil {
		t.Fatal(err)
	}
	for range 200 { // so that the log is thinned
		put(t, s, spool.NewID(time.Now()), make([]byte, 500), deliveries("x", time.Now()))
		drain(t, s)
	}
	s.Flush()
	for range 2 {
		items := list(t, s, spool.Query{State: spool.StatePoison})
		if len(items) != 1 || items[0].Message.ID != ids[0] || items[0].Delivery.Crashes != 15 {
			t.Fatalf("%+v", items)
		}
		s.Close()
		s = open(t, dir, o)
	}
}

// drain finishes all that is handed out.
func drain(t *testing.T, s spool.Store) int {
	t.Helper()
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1000, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range l.Leases {
		err := s.Settle(t.Context(), spool.Settlement{ID: v.Delivery.ID, Token: v.Token})
		if err != nil {
			t.Fatal(err)
		}
	}
	return len(l.Leases)
}

func release(t *testing.T, s *filespool.Store, id spool.DeliveryID) {
	t.Helper()
	l, err := s.Take(t.Context(), id, time.Minute)
	if err != nil || !l.Delivery.Held {
		t.Fatalf("%+v, %v", l, err)
	}
	err = s.Settle(t.Context(), spool.Settlement{
		ID: id, Token: l.Token, Remaining: l.Delivery.Recipients,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTake(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), nil)
	far := time.Now().Add(24 * time.Hour)
	id := spool.DeliveryID{Message: spool.NewID(time.Now())}
	put(t, s, id.Message, []byte("x"), deliveries("a", far))
	put(t, s, spool.NewID(time.Now()), []byte("x"), deliveries("a", far))
	take := func(want error) spool.Lease {
		t.Helper()
		l, err := s.Take(t.Context(), id, time.Minute)
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		return l
	}
	l := take(nil)
	take(spool.ErrLeased)
	held := []spool.Held{{ID: id, Token: l.Token}}
	if err := s.Return(t.Context(), time.Hour, held); err != nil {
		t.Fatal(err)
	}
	l = take(nil) // also what was given back for a while
	moved := spool.Key{Route: "b"}
	err := s.Settle(t.Context(), spool.Settlement{
		ID: id, Token: l.Token, Remaining: l.Delivery.Recipients, Key: &moved, Held: true,
		Due: time.Now().Add(-time.Second), Attempts: l.Delivery.Attempts,
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := drain(t, s); n != 0 {
		t.Fatalf("%d handed out", n)
	}
	if l = take(nil); l.Delivery.Key != moved || !l.Delivery.Held {
		t.Errorf("%+v", l.Delivery)
	}
	s.Elapse(time.Minute)
	if n := drain(t, s); n != 0 {
		t.Fatal("a delivery on hold is handed out when its lease has ended")
	}
	l = take(nil)
	if err := s.Settle(t.Context(), spool.Settlement{ID: id, Token: l.Token}); err != nil {
		t.Fatal(err)
	}
	take(spool.ErrNotFound)
	if _, _, err := s.Find(t.Context(), id.Message); !errors.Is(err, spool.ErrNotFound) {
		t.Errorf("Find: %v", err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), nil)
	id := queueUp(t, s, 1)[0]
	m, items, err := s.Find(t.Context(), id)
	if err != nil || m.ID != id || m.From != "app@example.com" || len(items) != 2 ||
		items[0].State != spool.StateWaiting || items[1].State != spool.StateHeld ||
		items[1].Delivery.ID.Seq != 1 {
		t.Errorf("%+v, %+v, %v", m, items, err)
	}
}

// TestWake wakes who leases when something is due before he looks again.
func TestWake(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), nil)
	woken := func() bool {
		select {
		case <-s.Wake():
			return true
		default:
			return false
		}
	}
	add := func(due time.Duration) spool.DeliveryID {
		id := spool.NewID(time.Now())
		put(t, s, id, []byte("x"), deliveries("a", time.Now().Add(due)))
		return spool.DeliveryID{Message: id}
	}
	drain(t, s)
	add(time.Hour)
	if !woken() {
		t.Error("not woken when nothing was known")
	}
	drain(t, s)
	late := add(2 * time.Hour)
	if woken() {
		t.Error("woken for what is due later than what is known")
	}
	l, err := s.Take(t.Context(), late, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Settle(t.Context(), spool.Settlement{
		ID: late, Token: l.Token, Remaining: l.Delivery.Recipients, Wait: time.Minute,
	})
	if err != nil || !woken() {
		t.Errorf("not woken for what was rescheduled: %v", err)
	}
}
