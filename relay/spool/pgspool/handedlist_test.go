package pgspool

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/postern-mail/postern/relay/spool"
)

// handedOf are deliveries of a key, leased by their commits for a minute.
func handedOf(h *handed, k spool.Key, n int) {
	for i := range n {
		if _, ok := h.book(k, 0); ok {
			row := rowOf(&newMessage{meta: []byte{}}, i, &spool.Delivery{Key: k},
				time.Unix(int64(i), 0), int64(i+1), appendRecipients(nil, nil, 0))
			h.fill([]*handedRow{{
				deliveryRow: row, key: k, digest: digest(k), ttl: time.Minute,
				until: time.Now().Add(handLimit),
			}})
		}
	}
}

func (h *handed) taken(q spool.LeaseRequest, idle bool) int {
	var out spool.Leased
	h.take(&q, wantedOf(&q), &out, func(int64) bool { return idle })
	return len(out.Leases)
}

func (h *handed) waits(q spool.LeaseRequest) bool { return h.fitting(&q, wantedOf(&q)) > 0 }

// TestHandedAsWanted: what a request does not want, or has no room for, waits
// for another one, and does not keep its caller busy.
func TestHandedAsWanted(t *testing.T) {
	var h handed
	a, b := spool.Key{Route: "a", Stream: "x"}, spool.Key{Route: "b"}
	h.expect(spool.Expected{Max: 8, TTL: time.Minute, Others: 5})
	handedOf(&h, a, 9)
	handedOf(&h, b, 9)
	if len(h.list) != 8 || h.room != 0 {
		t.Fatalf("%d wait, room for %d", len(h.list), h.room)
	}
	for _, q := range []spool.LeaseRequest{
		{Max: 9, NotRoutes: []string{"a", "b"}},
		{Max: 9, Busy: []spool.Key{{Route: "a"}, b}},
		{Max: 9, Only: []spool.Key{{Route: "c"}}},
		{Max: 9, NotStreams: []string{"", "x"}},
		{Max: 9, TTL: time.Minute + 1},
	} {
		if n := h.taken(q, true); n > 0 || h.waits(q) {
			t.Errorf("%+v has %d, and more waits: %v", q, n, h.waits(q))
		}
	}
	if n := h.taken(spool.LeaseRequest{Max: 9}, false); n > 0 {
		t.Errorf("%d go before others of their keys", n)
	}
	if n := h.taken(spool.LeaseRequest{Max: 9, MaxPerKey: 2}, true); n != 4 {
		t.Errorf("%d of 2 keys", n)
	}
	if n := h.taken(spool.LeaseRequest{Max: 1, TTL: time.Minute}, true); n != 1 {
		t.Errorf("%d instead of 1", n)
	}
	if n := h.taken(spool.LeaseRequest{Max: 9}, true); n != 3 {
		t.Errorf("%d are left", n)
	}
}

// TestHandedAtTheEnd: what goes back when the store ends, no Lease that is
// under way has.
func TestHandedAtTheEnd(t *testing.T) {
	var h handed
	h.expect(spool.Expected{Max: 9, TTL: time.Minute, Others: 9})
	handedOf(&h, spool.Key{Route: "a"}, 3)
	h.end()
	h.expect(spool.Expected{Max: 9, TTL: time.Minute, Others: 9})
	if _, ok := h.book(spool.Key{Route: "a"}, 0); ok {
		t.Error("one more has a place")
	}
	q := spool.LeaseRequest{Max: 9}
	if n := h.taken(q, true); n > 0 || h.waits(q) {
		t.Errorf("%d were handed out, and more waits: %v", n, h.waits(q))
	}
	if n := len(h.late(time.Now().Add(2 * handLimit))); n != 3 {
		t.Errorf("%d go back", n)
	}
}

// TestHandedInDoubt: what may be written yet is handed out to nobody, and goes
// back again and again until its lease would have ended.
func TestHandedInDoubt(t *testing.T) {
	var h handed
	h.expect(spool.Expected{Max: 9, TTL: time.Minute, Others: 9})
	k := spool.Key{Route: "a"}
	handedOf(&h, k, 1)
	row := h.list[0]
	h.list = nil
	h.expect(spool.Expected{Max: 9, TTL: time.Minute, Others: 9})
	if _, ok := h.book(k, 0); !ok {
		t.Fatal("it has no place")
	}
	h.doubt([]*handedRow{row})
	q := spool.LeaseRequest{Max: 9}
	if n := h.taken(q, true); n > 0 || h.waits(q) || len(h.booked) > 0 {
		t.Errorf("%d were handed out, %d are booked", n, len(h.booked))
	}
	for _, tt := range []struct {
		after time.Duration
		goes  int
	}{{0, 1}, {time.Minute / 2, 1}, {time.Minute + 2*handLimit, 0}, {0, 0}} {
		held := h.late(time.Now().Add(tt.after))
		if h.drop(held); len(held) != tt.goes {
			t.Errorf("after %v %d go back, want %d", tt.after, len(held), tt.goes)
		}
	}
}

// TestHandedStreamsTakeTurns: one with many does not hide the others of its
// route and domain, and those do not change places with others.
func TestHandedStreamsTakeTurns(t *testing.T) {
	var list []*handedRow
	var first []string
	for i, name := range []string{"x", "x", "d", "x", "d", "y", "z", "y"} {
		k := spool.Key{Route: "a", Domain: "a", Stream: name}
		if name == "d" {
			k = spool.Key{Route: "a", Domain: "d"}
		}
		list = append(list, &handedRow{key: k, deliveryRow: deliveryRow{seq: int32(i)}})
	}
	takeTurns(list)
	for _, r := range list {
		first = append(first, fmt.Sprint(cmp.Or(r.key.Stream, "d"), r.seq))
	}
	if got := strings.Join(first, " "); got != "x0 y5 d2 z6 d4 x1 y7 x3" {
		t.Error(got)
	}
}

// TestHandedStreamHidesNoOther: where there is no place for all, each stream
// has some.
func TestHandedStreamHidesNoOther(t *testing.T) {
	var h handed
	h.expect(spool.Expected{Max: 99, TTL: time.Minute, Others: 50})
	handedOf(&h, spool.Key{Route: "a", Stream: "many"}, 30)
	handedOf(&h, spool.Key{Route: "a", Stream: "one"}, 1)
	h.list[30].due = time.Unix(100, 0)
	q, out := spool.LeaseRequest{Max: 10}, spool.Leased{}
	h.take(&q, wantedOf(&q), &out, func(int64) bool { return true })
	has := func(l spool.Lease) bool { return l.Delivery.Key.Stream == "one" }
	if len(out.Leases) != 10 || !slices.ContainsFunc(out.Leases, has) {
		t.Errorf("leased %d, none of the other stream", len(out.Leases))
	}
}

// TestHandedWithoutContent: what waits for Lease keeps no content in memory.
func TestHandedWithoutContent(t *testing.T) {
	m := &newMessage{meta: []byte{}, size: 7, content: make([]byte, bufferBytes)}
	row := rowOf(m, 0, &spool.Delivery{}, time.Now(), 1, nil)
	w := weak.Make(m)
	m = nil
	for range 100 {
		if runtime.GC(); w.Value() == nil {
			break
		}
	}
	if w.Value() != nil || *row.size != 7 {
		t.Error("the message is kept")
	}
	runtime.KeepAlive(row)
}
