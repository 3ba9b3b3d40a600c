package simtest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// Expecter is a store that leases what its process commits, as far as that is
// expected: the way of one process to a store that others may share. It hands
// that out once nothing else is due that is wanted.
type Expecter struct {
	parts
	// Lag is how long what was leased stays before it is handed out: the
	// process may die meanwhile. It is not to be changed later.
	Lag   time.Duration
	wakes chan struct{}

	mu       sync.Mutex
	expected spool.Expected
	room     int               // of what is expected
	used     map[spool.Key]int // for which keys
	list     []ahead
	back     *time.Timer // when some of it goes back; nil with none
	ended    bool
	handed   int
}

// ahead is a delivery that was leased with its commit and waits for a Lease.
type ahead struct {
	spool.Lease
	ttl   time.Duration
	from  time.Time // when it may be handed out
	until time.Time // when it goes back
}

// keptFor is how long it waits.
const keptFor = time.Second

var (
	_ spool.Expecter = (*Expecter)(nil)
	_ spool.Waker    = (*Expecter)(nil)
)

// NewExpecter returns a way to a store, which has every part but a Waker and a
// Gauge, and whose writers are LeasingWriters.
func NewExpecter(s spool.Store) *Expecter {
	return &Expecter{parts: s.(parts), wakes: make(chan struct{}, 1)}
}

// Wake receives a value after each commit.
func (e *Expecter) Wake() <-chan struct{} { return e.wakes }

// Handed is how many deliveries were handed out that a commit has leased.
func (e *Expecter) Handed() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.handed
}

// Expect tells what is expected from now on.
func (e *Expecter) Expect(x spool.Expected) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expected, e.room, e.used = x, x.Max-len(e.list), make(map[spool.Key]int)
	for i := range e.list {
		e.used[e.list[i].Delivery.Key]++
	}
}

// book takes a place for one more of a key, if that is expected.
func (e *Expecter) book(k spool.Key) (ttl time.Duration, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := &e.expected
	n, known := x.Keys[spool.Key{Route: k.Route, Domain: k.Domain}]
	if !known {
		n = x.Others
	}
	if e.ended || e.room <= 0 || e.used[k] >= n || slices.Contains(x.NotRoutes, k.Route) ||
		slices.Contains(x.NotStreams, k.Stream) {
		return 0, false
	}
	e.room--
	e.used[k]++
	return x.TTL, true
}

// Create begins a message, which is leased as far as it is expected.
func (e *Expecter) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	w, err := e.parts.Create(ctx, id)
	if err != nil {
		return nil, err
	}
	return expectWriter{w.(LeasingWriter), e}, nil
}

type expectWriter struct {
	LeasingWriter
	store *Expecter
}

func (w expectWriter) Commit(ctx context.Context, c spool.Commit) error {
	e, begun, ttl := w.store, time.Now(), time.Duration(0)
	leases, err := w.CommitLeasing(ctx, c, func(k spool.Key) (time.Duration, bool) {
		wanted, ok := e.book(k)
		if ok {
			ttl = wanted
		}
		return wanted + keptFor, ok
	})
	if err != nil {
		return err
	}
	for _, l := range leases {
		e.keep(ahead{l, ttl, begun.Add(e.Lag), begun.Add(keptFor)})
	}
	select {
	case e.wakes <- struct{}{}:
	default:
	}
	return nil
}

// keep keeps what was leased for the next Lease.
func (e *Expecter) keep(a ahead) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, a)
	if e.back == nil {
		e.back = time.AfterFunc(keptFor, e.takeBack)
	}
}

// takeBack gives back what nobody has asked for in time, again when that fails.
func (e *Expecter) takeBack() {
	late := e.late(time.Now())
	if len(late) > 0 && e.giveBack(late) == nil {
		e.drop(late)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.back = nil; len(e.list) > 0 && !e.ended {
		e.back = time.AfterFunc(keptFor, e.takeBack)
	}
}

// late is what has waited until a time.
func (e *Expecter) late(now time.Time) (held []spool.Held) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.list {
		if a := &e.list[i]; !a.until.After(now) {
			held = append(held, a.held())
		}
	}
	return held
}

func (a *ahead) held() spool.Held { return spool.Held{ID: a.Delivery.ID, Token: a.Token} }

// drop forgets what has gone back.
func (e *Expecter) drop(held []spool.Held) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = slices.DeleteFunc(e.list, func(a ahead) bool {
		return slices.Contains(held, a.held())
	})
}

func (e *Expecter) giveBack(held []spool.Held) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*keptFor)
	defer cancel()
	return e.Return(ctx, 0, held)
}

// Lease hands out what is due, and then what was leased with its commit.
func (e *Expecter) Lease(ctx context.Context, q spool.LeaseRequest) (spool.Leased, error) {
	out, err := e.parts.Lease(ctx, q)
	if err == nil {
		e.handOut(&q, &out)
	}
	return out, err
}

func (e *Expecter) handOut(q *spool.LeaseRequest, out *spool.Leased) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.room -= len(out.Leases)
	if out.Wait == 0 { // of these, some may go before those
		return
	}
	now, given := time.Now(), make(map[spool.Key]int)
	slices.SortStableFunc(e.list, func(a, b ahead) int {
		return a.Delivery.Due.Compare(b.Delivery.Due)
	})
	for _, l := range out.Leases {
		given[l.Delivery.Key]++
	}
	e.list = slices.DeleteFunc(e.list, func(a ahead) bool {
		k := a.Delivery.Key
		if !a.until.After(now) || a.ttl < q.TTL || !wants(q, k) {
			return false
		}
		if wait := a.from.Sub(now); wait > 0 {
			if out.Wait < 0 || wait < out.Wait {
				out.Wait = wait
			}
			return false
		}
		if len(out.Leases) >= q.Max || q.MaxPerKey > 0 && given[k] >= q.MaxPerKey {
			out.Wait = 0
			return false
		}
		given[k]++
		e.handed++
		out.Leases = append(out.Leases, a.Lease)
		return true
	})
	slices.SortStableFunc(out.Leases, func(a, b spool.Lease) int {
		return a.Delivery.Due.Compare(b.Delivery.Due)
	})
}

// wants reports whether a request is for a key.
func wants(q *spool.LeaseRequest, k spool.Key) bool {
	in := func(list []spool.Key) bool {
		return slices.ContainsFunc(list, func(w spool.Key) bool {
			return w.Route == k.Route && w.Domain == k.Domain &&
				(w.Stream == "" || w.Stream == k.Stream)
		})
	}
	return !in(q.Busy) && (len(q.Only) == 0 || in(q.Only)) &&
		!slices.Contains(q.NotRoutes, k.Route) && !slices.Contains(q.NotStreams, k.Stream)
}

// Close gives back what it has.
func (e *Expecter) Close() error {
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	_ = e.giveBack(e.late(time.Now().Add(keptFor)))
	return e.parts.Close()
}
