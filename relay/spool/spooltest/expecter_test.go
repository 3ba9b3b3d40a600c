package spooltest_test

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

// TestExpecter leases what is committed, if it is expected.
func TestExpecter(t *testing.T) {
	spooltest.Run(t, func(*testing.T) spool.Store {
		return &expecter{queue: memspool.New(nil)}
	})
}

// TestExpecterServed has two nodes, of which both can expect.
func TestExpecterServed(t *testing.T) {
	spooltest.RunServedInBubbles(t, func(*testing.T) spooltest.Served {
		return expectingPair(breaks{})
	})
}

// TestNeverExpects passes, too: a store need not lease what is expected.
func TestNeverExpects(t *testing.T) {
	spooltest.RunServedInBubbles(t, func(*testing.T) spooltest.Served {
		return expectingPair(breaks{nothing: true})
	})
}

// TestExpecterReopened has what waits when both nodes end.
func TestExpecterReopened(t *testing.T) {
	spooltest.RunServedDurableInBubbles(t, func(t *testing.T) func() spooltest.Served {
		p := newPlace()
		t.Cleanup(func() { p.Store.Close() })
		return func() spooltest.Served {
			return spooltest.Served{
				Store: &expecter{queue: p.node()}, Other: &expecter{queue: p.node()},
			}
		}
	})
}

// expectingPair are two nodes of one place, the first of which breaks rules.
func expectingPair(b breaks) spooltest.Served {
	p := newPlace()
	p.ends = true
	return spooltest.Served{
		Store: &expecter{queue: p.node(), breaks: b}, Other: &expecter{queue: p.node()},
	}
}

// queue is a store in memory, or a node that has one.
type queue interface {
	spool.Store
	spool.Manager
	spool.Waker
}

// breaks are rules that an expecter breaks.
type breaks struct {
	nothing  bool // is leased; that breaks none
	holds    bool // are leased, too
	early    bool // what is not due is leased, too
	any      bool // key will do
	more     bool // than Max are leased
	first    bool // goes what is leased, before what waited
	last     bool // goes what is leased, after what came later
	short    bool // leases are handed out, too
	unwanted bool // what Lease does not want is handed out
	forgets  bool // how large a message is
	twice    bool // is handed out what was not tried before
	never    bool // goes back what nobody asks for
	keeps    bool // what waits when it ends
}

// expecter leases what is committed to a queue.
type expecter struct {
	queue
	breaks

	mu   sync.Mutex
	e    spool.Expected
	keys map[spool.Key]int
	list []ahead
}

// ahead is a lease that waits for the next Lease.
type ahead struct {
	spool.Lease
	ttl time.Duration
}

func (x *expecter) Expect(e spool.Expected) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.e, x.keys = e, make(map[spool.Key]int)
	for _, a := range x.list {
		x.keys[a.Delivery.Key]++
	}
}

func (x *expecter) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	w, err := x.queue.Create(ctx, id)
	return expectingWriter{w, x, id}, err
}

type expectingWriter struct {
	spool.Writer
	x  *expecter
	id spool.ID
}

func (w expectingWriter) Commit(ctx context.Context, c spool.Commit) error {
	w.x.mu.Lock()
	defer w.x.mu.Unlock()
	waiting := make(map[spool.Key]bool)
	for _, d := range c.Deliveries {
		list, _ := w.x.List(ctx, spool.Query{Key: d.Key, State: spool.StateWaiting, Max: 1})
		waiting[d.Key] = len(list) > 0 && !w.x.first
	}
	if err := w.Writer.Commit(ctx, c); err != nil {
		return err
	}
	for i, d := range c.Deliveries {
		if !waiting[d.Key] && w.x.wants(&d) {
			w.x.lease(ctx, spool.DeliveryID{Message: w.id, Seq: i})
		}
	}
	return nil
}

// wants tells whether a delivery is to be leased.
func (x *expecter) wants(d *spool.Delivery) bool {
	n, ok := x.e.Keys[spool.Key{Route: d.Key.Route, Domain: d.Key.Domain}]
	if !ok {
		n = x.e.Others
	}
	not := slices.Contains(x.e.NotRoutes, d.Key.Route) ||
		slices.Contains(x.e.NotStreams, d.Key.Stream)
	return !x.nothing && (!d.Held || x.holds) && (!d.Due.After(time.Now()) || x.early) &&
		(!not && x.keys[d.Key] < n || x.any && x.e.Max > 0) &&
		(len(x.list) < x.e.Max || x.more)
}

// lease leases what was committed just now. A second later it goes back.
func (x *expecter) lease(ctx context.Context, id spool.DeliveryID) {
	l, err := x.Take(ctx, id, x.e.TTL+time.Second)
	if err != nil {
		return
	}
	if x.forgets {
		l.Message.Size = 0
	}
	x.keys[l.Delivery.Key]++
	x.list = append(x.list, ahead{l, x.e.TTL})
	if !x.never {
		time.AfterFunc(time.Second, func() { x.giveBack(id) })
	}
}

// giveBack gives back one that waits, or all.
func (x *expecter) giveBack(id spool.DeliveryID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list = slices.DeleteFunc(x.list, func(a ahead) bool {
		if id != (spool.DeliveryID{}) && a.Delivery.ID != id {
			return false
		}
		h := []spool.Held{{ID: a.Delivery.ID, Token: a.Token}}
		return x.Return(context.Background(), 0, h) == nil
	})
}

func (x *expecter) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var mine []spool.Lease
	keys := make(map[spool.Key]int)
	per := cmp.Or(r.MaxPerKey, r.Max)
	if x.last { // what is in the queue goes first
		out, err := x.queue.Lease(ctx, r)
		if err != nil || len(out.Leases) > 0 {
			return out, err
		}
	}
	x.list = slices.DeleteFunc(x.list, func(a ahead) bool {
		k := a.Delivery.Key
		if len(mine) == r.Max || keys[k] == per || a.ttl < r.TTL && !x.short ||
			!x.unwanted && !isWanted(&r, k) {
			return false
		}
		keys[k]++
		mine = append(mine, a.Lease)
		return !x.twice || a.Delivery.Attempts > 0
	})
	r.Max -= len(mine)
	for k := range keys { // the rest of a key is for the next Lease
		r.Busy = append(slices.Clip(r.Busy), k)
	}
	out, err := x.queue.Lease(ctx, r)
	if err != nil {
		return out, err
	}
	if out.Leases = append(mine, out.Leases...); len(mine) > 0 {
		out.Wait = 0
	}
	slices.SortStableFunc(out.Leases, func(a, b spool.Lease) int {
		return a.Delivery.Due.Compare(b.Delivery.Due)
	})
	return out, nil
}

func isWanted(r *spool.LeaseRequest, k spool.Key) bool {
	any := spool.Key{Route: k.Route, Domain: k.Domain}
	has := func(list []spool.Key) bool {
		return slices.Contains(list, k) || slices.Contains(list, any)
	}
	return !has(r.Busy) && (len(r.Only) == 0 || has(r.Only)) &&
		!slices.Contains(r.NotRoutes, k.Route) && !slices.Contains(r.NotStreams, k.Stream)
}

func (x *expecter) Close() error {
	if !x.keeps {
		x.giveBack(spool.DeliveryID{})
	}
	return x.queue.Close()
}
