package pgspool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

const (
	twinFor  = "POSTERN_TWIN_FOR"  // how long TestSameAsInMemory runs
	twinSeed = "POSTERN_TWIN_SEED" // what it begins with
	twinStep = 20 * time.Minute    // times are off this grid, by half of it
	twinLong = 25 * time.Second    // for what is to be found: before a scan does it
)

// TestSameAsInMemory does at random what a relay and its operators do, with the
// queue as two nodes see it and with one in memory. Both hold the same, and
// what is due in memory is handed out.
func TestSameAsInMemory(t *testing.T) {
	t.Parallel()
	long, err := time.ParseDuration(os.Getenv(twinFor))
	if err != nil {
		long = 6 * time.Second
	}
	seed, err := strconv.ParseUint(os.Getenv(twinSeed), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	for end := time.Now().Add(long); time.Now().Before(end); seed++ {
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newTwin(t, seed)
			stop := time.Now().Add(4 * time.Minute) // half a step, and time to spare
			for range 6 {
				w.batch()
				if time.Now().After(end) || time.Now().After(stop) {
					break
				}
			}
			t.Logf("%d operations, %d leases, found within %v", w.done, w.handed, w.found)
		})
		if !ok {
			return
		}
	}
}

// twin is a queue and its model.
type twin struct {
	t     *testing.T
	rand  *rand.Rand
	nodes []*pgspool.Store
	txs   func(func(*pgspool.Tx))
	mem   *memspool.Store
	move  func(time.Duration)
	shift time.Duration

	leases map[spool.DeliveryID]twinLease
	rest   map[spool.DeliveryID]time.Time // until then nothing is handed out
	slow   map[spool.DeliveryID]bool      // the end of whose lease comes before it is due
	ids    []spool.ID
	ttl    time.Duration // of what is expected: the least that a Lease asks for
	events int
	done   int
	handed int
	found  time.Duration // the longest that it took
}

// twinLease is a lease in both.
type twinLease struct {
	pg, mem uint64
	ends    time.Time
	due     time.Time
}

func newTwin(t *testing.T, seed uint64) *twin {
	url := server.Database(t)
	w := &twin{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), move: shifter(t, url),
		nodes:  []*pgspool.Store{open(t, url), open(t, url)},
		leases: make(map[spool.DeliveryID]twinLease),
		rest:   make(map[spool.DeliveryID]time.Time),
		slow:   make(map[spool.DeliveryID]bool),
	}
	w.mem = memspool.New(&memspool.Options{Now: w.now})
	for _, s := range w.nodes { // from now on they take what transactions leave
		_, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
		w.must(err)
	}
	pool := connect(t, url)
	w.txs = func(f func(*pgspool.Tx)) {
		tx, err := pool.Begin(t.Context())
		w.must(err)
		defer tx.Rollback(context.Background())
		f(w.nodes[0].Tx(tx))
		w.must(tx.Commit(t.Context()))
	}
	return w
}

func (w *twin) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// now is the clock of both.
func (w *twin) now() time.Time {
	return time.Now().Round(0).Add(w.shift).Truncate(time.Microsecond)
}

func (w *twin) odds(n int) bool { return w.rand.IntN(n) == 0 }

func (w *twin) node() *pgspool.Store { return w.nodes[w.rand.IntN(len(w.nodes))] }

// off is a time off the grid.
func (w *twin) off() time.Duration { return time.Duration(w.rand.IntN(4))*twinStep + twinStep/2 }

func (w *twin) batch() {
	ops := []func(){
		w.commit, w.commit, w.commit, w.lease, w.lease, w.settle, w.settle, w.settle, w.returns,
		w.renew, w.take, w.find, w.list, w.expect, w.expect,
	}
	w.newTTL()
	for range 10 + w.rand.IntN(40) {
		ops[w.rand.IntN(len(ops))]()
		w.done++
	}
	// What transactions have left is taken before the clock moves, and what is
	// expected goes back.
	w.compare()
	if w.odds(2) {
		w.advance()
	}
	w.findAll()
	w.compare()
}

// newTTL has leases of another length, of what is expected from now on as well.
// Nothing that was expected before waits any more.
func (w *twin) newTTL() {
	w.ttl = w.off()
	for _, s := range w.nodes {
		s.Expect(spool.Expected{})
	}
}

// expect tells a node what is expected of it.
func (w *twin) expect() {
	e := spool.Expected{
		Max: w.rand.IntN(20), TTL: w.ttl, Others: w.rand.IntN(3),
		Keys:       make(map[spool.Key]int),
		NotRoutes:  []string{"", "a", "b"}[w.rand.IntN(3):][:1],
		NotStreams: []string{"none", "", "news"}[w.rand.IntN(3):][:1],
	}
	for _, k := range w.keysOf(9) {
		e.Keys[spool.Key{Route: k.Route, Domain: k.Domain}] = w.rand.IntN(4)
	}
	w.node().Expect(e)
}

// advance moves the clock; leases end.
func (w *twin) advance() {
	d := time.Duration(1+w.rand.IntN(4)) * twinStep
	w.move(d)
	w.shift += d
	now := w.now()
	for id, l := range w.leases {
		if !l.ends.After(now) {
			w.must(w.mem.Return(w.t.Context(), 0, []spool.Held{{ID: id, Token: l.mem}}))
			delete(w.leases, id)
			w.slow[id] = l.due.After(now)
		}
	}
}

func (w *twin) key() spool.Key {
	pick := func(s ...string) string { return s[w.rand.IntN(len(s))] }
	return spool.Key{
		Route: pick("a", "b", "c"), Domain: pick("", "x.example", "y.example"),
		Stream: pick("", "news", "mail"),
	}
}

// keysOf are some keys, for a request.
func (w *twin) keysOf(n int) (list []spool.Key) {
	for range w.rand.IntN(n) {
		list = append(list, w.key())
	}
	return list
}

func (w *twin) rcpts() (list []spool.Recipient) {
	for range 1 + w.rand.IntN(3) {
		list = append(
			list, spool.Recipient{Address: fmt.Sprint("u", w.rand.IntN(100), "@x.example")},
		)
	}
	return list
}

func (w *twin) event(kind string) []spool.Record {
	w.events++
	return []spool.Record{{Time: w.now(), Data: fmt.Append(nil, kind, w.events)}}
}

func (w *twin) due() time.Time {
	switch w.rand.IntN(4) {
	case 0:
		return w.now().Add(w.off())
	case 1:
		return w.now().Add(-w.off())
	case 2:
		return w.now()
	}
	return time.Time{}
}

func (w *twin) commit() {
	c := spool.Commit{
		Message: spool.Message{From: "s@x.example", Created: w.now(), Stream: w.key().Stream},
		Prepend: []byte("Received: by x.example\r\n"),
	}
	for range 1 + w.rand.IntN(4) {
		c.Deliveries = append(c.Deliveries, spool.Delivery{
			Key: w.key(), Recipients: w.rcpts(), Due: w.due(), Expires: w.now().Add(24 * time.Hour),
			Held: w.odds(6), Crashes: w.rand.IntN(4),
		})
	}
	id, content := spool.NewID(w.now()), strings.Repeat("line\r\n", w.rand.IntN(100))
	w.ids = append(w.ids, id)
	if w.odds(4) {
		c.Message.ID, c.Events = id, w.event("tx")
		p := &spool.Prepared{Commit: c, Content: []byte(content)}
		w.txs(func(tx *pgspool.Tx) { w.must(tx.Commit(w.t.Context(), p)) })
		w.must(w.mem.Commit(w.t.Context(), p))
		return
	}
	c.Events = w.event("e")
	mine, its := c, c
	if w.odds(3) {
		ours, theirs, id := w.settlement()
		if id != (spool.DeliveryID{}) {
			mine.Settle, its.Settle = []spool.Settlement{ours}, []spool.Settlement{theirs}
			delete(w.leases, id)
		}
	}
	w.write(w.node(), id, content, mine)
	w.write(w.mem, id, content, its)
}

func (w *twin) write(s spool.Store, id spool.ID, content string, c spool.Commit) {
	w.t.Helper()
	x, err := s.Create(w.t.Context(), id)
	w.must(err)
	_, err = x.Write([]byte(content))
	w.must(err)
	w.must(x.Commit(w.t.Context(), c))
}

// held is a lease by chance.
func (w *twin) held() (id spool.DeliveryID, l twinLease, ok bool) {
	for _, i := range w.items(spool.Query{Max: 1000, State: spool.StateLeased}) {
		if _, ours := w.leases[i.Delivery.ID]; ours {
			if id = i.Delivery.ID; w.odds(3) {
				break
			}
		}
	}
	return id, w.leases[id], id != spool.DeliveryID{}
}

// settlement ends a lease, for each of both.
func (w *twin) settlement() (ours, theirs spool.Settlement, id spool.DeliveryID) {
	id, l, ok := w.held()
	if !ok {
		return
	}
	ours = spool.Settlement{ID: id, Token: l.pg, Events: w.event("e")}
	if w.odds(2) {
		ours.Remaining, ours.Attempts = w.rcpts(), w.rand.IntN(5)
		ours.Held, ours.Crashes = w.odds(5), w.rand.IntN(4)
		if ours.Due = w.due(); ours.Due.IsZero() && w.odds(2) {
			ours.Wait = w.off()
		}
		if w.odds(3) {
			k := w.key()
			ours.Key = &k
		}
	}
	theirs = ours
	theirs.Token = l.mem
	return ours, theirs, id
}

func (w *twin) settle() {
	ours, theirs, id := w.settlement()
	if id == (spool.DeliveryID{}) {
		return
	}
	if w.odds(8) {
		ours.Token, theirs.Token = ours.Token+1, theirs.Token+1
	} else {
		delete(w.leases, id)
	}
	a, b := w.node().Settle(w.t.Context(), ours), w.mem.Settle(w.t.Context(), theirs)
	w.sameError("Settle", a, b)
}

func (w *twin) sameError(what string, a, b error) {
	w.t.Helper()
	for _, e := range []error{spool.ErrLeaseLost, spool.ErrNotFound, spool.ErrLeased} {
		if errors.Is(a, e) && errors.Is(b, e) {
			return
		}
	}
	if a != nil || b != nil {
		w.t.Fatalf("%s: %v, in memory %v", what, a, b)
	}
}

func (w *twin) returns() {
	id, l, ok := w.held()
	if !ok {
		return
	}
	wait := time.Duration(0)
	if w.odds(2) {
		wait = w.off()
		w.rest[id] = w.now().Add(wait)
	}
	delete(w.leases, id)
	w.must(w.node().Return(w.t.Context(), wait, []spool.Held{{ID: id, Token: l.pg}}))
	w.must(w.mem.Return(w.t.Context(), 0, []spool.Held{{ID: id, Token: l.mem}}))
}

func (w *twin) renew() {
	id, l, ok := w.held()
	if !ok {
		return
	}
	ttl, ours := w.off(), []spool.Held{{ID: id, Token: l.pg}, {ID: id, Token: l.pg + 1}}
	lost, err := w.node().Renew(w.t.Context(), ttl, ours)
	w.must(err)
	if len(lost) != 1 || lost[0] != ours[1] {
		w.t.Fatalf("lost %v of %v", lost, ours)
	}
	l.ends = w.now().Add(ttl)
	w.leases[id] = l
}
