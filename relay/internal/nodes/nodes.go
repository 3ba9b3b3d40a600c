package nodes

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

// The groups of the store.
const (
	relays = "relay"
	route  = "route/" // and the name of one
)

// longest is how long a relay counts after its last sign of life, at most.
const longest = 30 * time.Second

// Config configures Nodes. Every field is required but Store.
type Config struct {
	// Store knows who is alive; nil where nobody else can be.
	Store spool.Nodes
	// LeaseTime is for how long a route counts as served after the last sign of
	// life of who serves it. So a relay that starts again finds its mail.
	LeaseTime time.Duration
	// Routes are those that this relay serves.
	Routes func() []string
	// Changed is called when the part of this relay is another.
	Changed func()
	Logger  *slog.Logger
}

// Nodes is one relay among those that share a store. Its methods may be called
// from many goroutines at once, and none of them waits for the store but Run.
type Nodes struct {
	cfg    Config
	member string
	clocks clocks
	tell   chan struct{} // announces at once
	look   chan struct{} // asks at once

	mu    sync.Mutex
	rank  int
	live  int // 0 before the first answer
	asked map[string]*asked
}

// clocks are in proportion to LeaseTime where that is short.
type clocks struct {
	ttl   time.Duration // a relay counts after its last sign of life
	every time.Duration // from one sign to the next, and from one question to the next
	wait  time.Duration // for the store, each call

	routeTTL   time.Duration // the same for routes
	routeEvery time.Duration
}

func clocksOf(lease time.Duration) clocks {
	ttl := min(lease, longest)
	return clocks{
		ttl: ttl, every: ttl / 6, wait: ttl / 3, routeTTL: lease, routeEvery: lease / 4,
	}
}

// New returns a relay that gives no sign of life yet.
func New(cfg Config) *Nodes {
	return &Nodes{
		cfg: cfg, member: rand.Text(), clocks: clocksOf(cfg.LeaseTime),
		tell: make(chan struct{}, 1), look: make(chan struct{}, 1),
		asked: make(map[string]*asked),
	}
}

// Run gives signs of life until ctx ends, then leaves.
func (n *Nodes) Run(ctx context.Context) {
	if n.cfg.Store == nil {
		return
	}
	var all sync.WaitGroup
	for _, l := range []loop{
		{call: n.beat, every: n.clocks.every},
		{call: n.announcer(), every: n.clocks.routeEvery, now: n.tell},
		{call: n.ask, every: n.clocks.every, now: n.look},
	} {
		all.Go(func() { l.run(ctx, n.clocks.every, n.cfg.Logger) })
	}
	all.Wait()
	n.leave()
}

// loop calls the store again and again.
type loop struct {
	call  func(ctx context.Context) error
	every time.Duration
	now   <-chan struct{} // at once
}

// run goes on until ctx ends. After a failure it calls again after a while. Of
// failures in a row the log tells once.
func (l *loop) run(ctx context.Context, again time.Duration, log *slog.Logger) {
	t := time.NewTimer(0)
	defer t.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.now:
		case <-t.C:
		}
		wait := l.every
		err := l.call(ctx)
		if err != nil && ctx.Err() == nil {
			if wait = min(again, l.every); !failed {
				log.Warn("the store does not tell which relays share it", logkey.Err, err)
			}
		}
		failed = err != nil
		t.Reset(wait)
	}
}

// beat gives a sign of life and learns how many others do. After a failure the
// last figures count.
func (n *Nodes) beat(ctx context.Context) error {
	rank, live, err := n.join(ctx, relays, n.clocks.ttl)
	if err != nil {
		return err
	}
	live = max(live, 1)
	rank = min(max(rank, 0), live-1)
	n.mu.Lock()
	changed := n.rank != rank || max(n.live, 1) != live
	n.rank, n.live = rank, live
	n.mu.Unlock()
	if changed {
		n.cfg.Changed()
	}
	return nil
}

// join begins or prolongs a membership. A ttl of 0 ends it.
func (n *Nodes) join(
	ctx context.Context, group string, ttl time.Duration,
) (rank, live int, err error) {
	ctx, cancel := context.WithTimeout(ctx, n.clocks.wait)
	defer cancel()
	return n.cfg.Store.Beat(ctx, group, n.member, ttl)
}

// leave ends the membership at once. Routes are left to whoever starts again
// within LeaseTime, unless nobody else is there to wait for that.
func (n *Nodes) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), n.clocks.wait)
	defer cancel()
	if _, live := n.Rank(); live == 1 {
		for _, name := range n.cfg.Routes() {
			if _, _, err := n.join(ctx, route+name, 0); err != nil {
				break
			}
		}
	}
	_, _, _ = n.join(ctx, relays, 0)
}

// Rank returns the rank of this relay, and how many there are.
func (n *Nodes) Rank() (rank, live int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rank, max(n.live, 1)
}

// Part is this relay's part of a limit that all of them share, 1 at least.
func (n *Nodes) Part(limit int) int {
	rank, live := n.Rank()
	if live == 1 {
		return limit
	}
	part := limit / live
	if rank < limit%live {
		part++
	}
	return max(1, part)
}
