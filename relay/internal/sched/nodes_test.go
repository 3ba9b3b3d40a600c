package sched_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/internal/simtest"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

var errCut = errors.New("no way to the store")

// link is the way of one process to a store that others share.
type link struct {
	*simtest.Leasing
	cut   atomic.Bool   // each call fails
	hangs atomic.Bool   // Renew does not return
	mend  chan struct{} // before this is closed
	stops atomic.Int64  // the process stops for so long, between a Lease and its answer

	mu     sync.Mutex
	leased int // by all calls of Lease
}

func newLink(s spool.Store) *link {
	return &link{Leasing: simtest.NewLeasing(s), mend: make(chan struct{})}
}

func (k *link) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	if k.cut.Load() {
		return spool.Leased{}, errCut
	}
	leased, err := k.Leasing.Lease(ctx, r)
	k.mu.Lock()
	k.leased += len(leased.Leases)
	k.mu.Unlock()
	if len(leased.Leases) > 0 {
		time.Sleep(time.Duration(k.stops.Swap(0)))
	}
	return leased, err
}

func (k *link) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) ([]spool.Held, error) {
	if k.hangs.Load() {
		<-k.mend
	}
	if k.cut.Load() {
		return nil, errCut
	}
	return k.Leasing.Renew(ctx, ttl, held)
}

func (k *link) Return(ctx context.Context, wait time.Duration, held []spool.Held) error {
	if k.cut.Load() {
		return errCut
	}
	return k.Leasing.Return(ctx, wait, held)
}

func (k *link) Settle(ctx context.Context, s spool.Settlement) error {
	if k.cut.Load() {
		return errCut
	}
	return k.Leasing.Settle(ctx, s)
}

// handed is how many deliveries were leased by this way.
func (k *link) handed() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.leased
}

// crowd are several schedulers on one store. It sees that no delivery is begun
// while another of them is at it.
type crowd struct {
	t     *testing.T
	store *memspool.Store
	takes time.Duration // an attempt

	mu      sync.Mutex
	at      map[spool.DeliveryID]string
	settled map[string]int // by process
	ended   map[string]int // with their leases
	refused map[string]int // settlements
	route   map[string]int // attempts by route
	most    map[string]int // of them at once, by process
	active  map[string]int
}

func newCrowd(t *testing.T, takes time.Duration) *crowd {
	return &crowd{
		t: t, store: memspool.New(nil), takes: takes,
		at: map[spool.DeliveryID]string{}, settled: map[string]int{}, ended: map[string]int{},
		refused: map[string]int{}, route: map[string]int{}, most: map[string]int{},
		active: map[string]int{},
	}
}

// process is one of them.
type process struct {
	*sched.Scheduler
	*link
	stop func() // and waits for the end
}

// begin starts one.
func (c *crowd) begin(name string, change func(*sched.Config)) *process {
	p := &process{link: newLink(c.store)}
	cfg := sched.Config{
		Store: p.link, Concurrency: 100, Logger: slog.New(slog.DiscardHandler),
		RouteLimit: func(spool.Key) int { return 20 },
		Owner:      func(*spool.Lease) sched.Owner { return sched.Owner{} },
		Overdue:    onTime,
		Deliver: whole(func(ctx context.Context, l *spool.Lease) sched.Lesson {
			c.deliver(ctx, name, p.link, l)
			return sched.Lesson{}
		}),
	}
	if change != nil {
		change(&cfg)
	}
	p.Scheduler = sched.New(cfg)
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx, ctx) }()
	p.stop = func() { cancel(); <-done }
	c.t.Cleanup(p.stop)
	return p
}

func (c *crowd) deliver(ctx context.Context, name string, store spool.Store, l *spool.Lease) {
	id := l.Delivery.ID
	c.mu.Lock()
	if other, ok := c.at[id]; ok {
		c.t.Errorf("%s begins what %s is at", name, other)
	}
	c.at[id] = name
	c.route[l.Delivery.Key.Route]++
	c.active[name]++
	c.most[name] = max(c.most[name], c.active[name])
	c.mu.Unlock()
	select {
	case <-time.After(c.takes):
	case <-ctx.Done():
	}
	c.mu.Lock()
	delete(c.at, id)
	c.active[name]--
	c.mu.Unlock()
	lost := errors.Is(context.Cause(ctx), spool.ErrLeaseLost)
	if ctx.Err() != nil && !lost {
		held := spool.Held{ID: id, Token: l.Token}
		_ = store.Return(context.Background(), 0, []spool.Held{held})
		return
	}
	err := store.Settle(context.Background(), spool.Settlement{ID: id, Token: l.Token})
	c.mu.Lock()
	defer c.mu.Unlock()
	if lost {
		c.ended[name]++
	}
	if err != nil {
		c.refused[name]++
	} else {
		c.settled[name]++
	}
}

// count returns a figure of a process.
func (c *crowd) count(of map[string]int, name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return of[name]
}

// left is what is still queued.
func (c *crowd) left() int64 {
	stats, err := c.store.Stats(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return stats.Deliveries
}
