package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

var errNoWay = errors.New("no way to the store")

// way is a relay's way to a store that others share. It can be cut.
type way struct {
	*memspool.Store
	cut     atomic.Bool
	noRenew atomic.Bool // leases end, and nothing else fails
}

func (w *way) ok() error {
	if w.cut.Load() {
		return errNoWay
	}
	return nil
}

func (w *way) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	if err := w.ok(); err != nil {
		return nil, err
	}
	return w.Store.Create(ctx, id)
}

func (w *way) Open(ctx context.Context, id spool.ID) (io.ReadCloser, error) {
	if err := w.ok(); err != nil {
		return nil, err
	}
	return w.Store.Open(ctx, id)
}

func (w *way) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	if err := w.ok(); err != nil {
		return spool.Leased{}, err
	}
	return w.Store.Lease(ctx, r)
}

func (w *way) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) ([]spool.Held, error) {
	if err := w.ok(); err != nil || w.noRenew.Load() {
		return nil, errNoWay
	}
	return w.Store.Renew(ctx, ttl, held)
}

func (w *way) Return(ctx context.Context, wait time.Duration, held []spool.Held) error {
	if err := w.ok(); err != nil {
		return err
	}
	return w.Store.Return(ctx, wait, held)
}

func (w *way) Settle(ctx context.Context, s spool.Settlement) error {
	if err := w.ok(); err != nil {
		return err
	}
	return w.Store.Settle(ctx, s)
}

func (w *way) Beat(
	ctx context.Context, group, member string, ttl time.Duration,
) (rank, live int, err error) {
	if err := w.ok(); err != nil {
		return 0, 0, err
	}
	return w.Store.Beat(ctx, group, member, ttl)
}

func (w *way) Live(ctx context.Context, group string) (int, error) {
	if err := w.ok(); err != nil {
		return 0, err
	}
	return w.Store.Live(ctx, group)
}

// cluster are relays on one store. It sees that no recipient's copy is on its
// way from two of them at once.
type cluster struct {
	t     *testing.T
	store *memspool.Store
	takes atomic.Int64 // a transaction, as a duration

	mu    sync.Mutex
	sent  int
	at    map[string]string // by recipient: the relay that is at it
	by    map[string]string // by recipient: the send connector and the relay that took it
	fates map[string][]event.Kind
	most  map[string]int // at once, by relay
	is    map[string]int
}

func newCluster(t *testing.T, takes time.Duration) *cluster {
	c := &cluster{
		t: t, store: memspool.New(nil), at: map[string]string{}, by: map[string]string{},
		fates: map[string][]event.Kind{},
		most:  map[string]int{}, is: map[string]int{},
	}
	c.takes.Store(int64(takes))
	return c
}

// member is one of them.
type member struct {
	*relay.Relay
	*way
	name string
	stop func() // and waits for the end
}

// config has a send connector for each domain, named after it; "*" is all.
func (c *cluster) config(name string, domains ...string) relay.Config {
	cfg := relay.Config{
		Hostname: name + ".example.test", Transports: map[string]delivery.Transport{},
		Events: c.event, DrainTimeout: time.Second,
		Retry: delivery.Retry{Schedule: []time.Duration{10 * time.Minute}},
	}
	for _, d := range domains {
		cfg.Transports[d] = delivery.TransportFunc(
			func(ctx context.Context, a *delivery.Attempt) []delivery.Result {
				return c.deliver(ctx, d+" by "+name, a)
			},
		)
		cfg.SendConnectors = append(cfg.SendConnectors, &connector.SendConnector{
			Name: d, AddressSpaces: []connector.AddressSpace{{Domain: d}}, Transport: d,
		})
	}
	return cfg
}

func (c *cluster) begin(name string, cfg relay.Config) *member {
	m := &member{way: &way{Store: c.store}, name: name}
	cfg.Spool = m.way
	r, err := relay.New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	m.Relay = r
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
	})
	c.t.Cleanup(m.stop)
	return m
}

// kill has a relay reach nothing any more.
func (m *member) kill() {
	m.cut.Store(true)
	_ = m.Relay.Close()
}

// deliver is a next hop. Cut short with its lease, it says that the message is
// refused, which must not count.
func (c *cluster) deliver(
	ctx context.Context, who string, a *delivery.Attempt,
) []delivery.Result {
	to := a.Recipients[0].Address
	_, name, _ := strings.Cut(who, " by ")
	c.mu.Lock()
	if other, ok := c.at[to]; ok {
		c.t.Errorf("%s begins what %s is at", who, other)
	}
	c.at[to] = who
	c.is[name]++
	c.most[name] = max(c.most[name], c.is[name])
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.at, to)
		c.is[name]--
		c.mu.Unlock()
	}()
	select {
	case <-time.After(time.Duration(c.takes.Load())):
	case <-ctx.Done():
		if errors.Is(context.Cause(ctx), spool.ErrLeaseLost) {
			return a.All(delivery.Failed(relay.Reject(550, "5.1.1", "No")))
		}
		return a.All(delivery.Failed(ctx.Err()))
	}
	c.mu.Lock()
	c.by[to] = who
	c.mu.Unlock()
	return a.All(delivery.Result{Delivered: true})
}

func (c *cluster) event(e event.Event) {
	if e.Kind.Fate() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.fates[e.To[0]] = append(c.fates[e.To[0]], e.Kind)
	}
}

// submit queues n messages for a domain.
func (c *cluster) submit(m *member, n int, domain string) (to []string) {
	c.t.Helper()
	for range n {
		c.mu.Lock()
		c.sent++
		to = append(to, fmt.Sprintf("%d@%s", c.sent, domain))
		c.mu.Unlock()
		submit(c.t, m.Relay, "app@example.test", to[len(to)-1])
	}
	return to
}

// delivered counts those whom a connector of a relay has delivered to, and sees
// that it was once.
func (c *cluster) delivered(to []string, who string) (n int) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rcpt := range to {
		if c.by[rcpt] != who {
			continue
		}
		n++
		if f := c.fates[rcpt]; len(f) != 1 || f[0] != event.Delivered {
			c.t.Errorf("%s: %v", rcpt, f)
		}
	}
	return n
}

// left is what is still queued.
func (c *cluster) left() int64 {
	stats, err := c.store.Stats(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return stats.Deliveries
}

// peak is how many transactions a relay has at most at once, from now on for a
// while.
func (c *cluster) peak(name string, d time.Duration) int {
	c.mu.Lock()
	c.most[name] = c.is[name]
	c.mu.Unlock()
	time.Sleep(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most[name]
}
