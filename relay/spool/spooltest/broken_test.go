package spooltest_test

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

const brokenVariable = "SPOOLTEST_BROKEN"

// brokenStore is a store that breaks a rule, and the cases that must see it.
type brokenStore struct {
	open func() spool.Store
	sees []string
}

// broken are those of each rule.
func broken() map[string]brokenStore {
	mem := func() *memspool.Store { return memspool.New(nil) }
	list := brokenExpecters()
	maps.Copy(list, map[string]brokenStore{
		"acknowledges twice": {
			func() spool.Store { return acknowledgesTwice{mem()} },
			[]string{"Fencing", "Return", "LogOfFailedSteps"},
		},
		"forgets the events of a settlement": {
			func() spool.Store { return forgetsEvents{mem()} }, []string{"LogOrder", "Cancel"},
		},
		"counts up tokens": {
			func() spool.Store { return &countsTokens{Store: mem(), real: map[uint64]uint64{}} },
			[]string{"LeaseTokens"},
		},
		"leases twice": {
			func() spool.Store { return &leasesTwice{Store: mem()} },
			[]string{"LeaseRace", "Fencing", "LeaseOrder"},
		},
		"ignores routes": {
			func() spool.Store { return ignoresRoutes{mem()} }, []string{"LeaseKeys", "LeaseWait"},
		},
		"ignores streams": {
			func() spool.Store { return ignoresStreams{mem()} }, []string{"LeaseKeys", "LeaseWait"},
		},
		"forgets holds": {
			func() spool.Store { return forgetsHolds{mem()} }, []string{"Hold", "Poison"},
		},
		"forgets crashes": {
			func() spool.Store { return forgetsCrashes{mem()} }, []string{"Poison"},
		},
		"renews whatever it is told": {
			func() spool.Store { return renewsAll{mem()} }, []string{"Renew", "Fencing"},
		},
		"ignores keys": {
			func() spool.Store {
				return &changesCommits{mem(), func(c *spool.Commit) {
					c.Claim = nil
				}}
			},
			[]string{"Claim", "ClaimRace", "OneStep"},
		},
		"forgets the events of a commit": {
			func() spool.Store {
				return &changesCommits{mem(), func(c *spool.Commit) {
					c.Events = nil
				}}
			},
			[]string{"LogOrder", "LogConcurrent", "OneStep"},
		},
		"forgets streams": {
			func() spool.Store {
				return &changesCommits{mem(), func(c *spool.Commit) {
					for i := range c.Deliveries {
						c.Deliveries[i].Key.Stream = ""
					}
				}}
			},
			[]string{"RoundTrip", "LeaseKeys"},
		},
		"settles apart from the commit": {
			func() spool.Store { return settlesApart{mem()} },
			[]string{"CommitSettleLost", "OneStep"},
		},
		"loses what it has acknowledged": {
			func() spool.Store { return mem() }, []string{"Commit", "Step", "Settle", "While"},
		},
		"never wakes": {
			func() spool.Store { return neverWakes{mem()} }, []string{"Waker", "WakerRelease"},
		},
		"drops the last of several recipients": {
			func() spool.Store { return dropsRecipient{mem()} },
			[]string{"SettleRemaining", "Concurrent"},
		},
		"prolongs counters": {
			func() spool.Store { return &prolongsCounters{Store: mem()} }, []string{"Counter"},
		},
		"never lets a member go": {
			func() spool.Store { return neverLeaves{mem()} },
			[]string{"NodesLeave", "NodesEnd", "NodesGroups"},
		},
		"keeps the rank of who comes back": {
			func() spool.Store { return &keepsRanks{Store: mem()} },
			[]string{"NodesLeave", "NodesEnd"},
		},
		"ranks by the last beat": {
			func() spool.Store { return ranksByBeat{mem()} }, []string{"NodesRank"},
		},
		"counts who has ended": {
			func() spool.Store { return &countsAll{Store: mem()} },
			[]string{"NodesLeave", "NodesEnd"},
		},
		"has one group": {
			func() spool.Store { return oneGroup{mem()} }, []string{"NodesGroups"},
		},
	})
	return list
}

// TestBroken runs the suite against stores that are broken on purpose, in a
// process of its own for each, and sees it fail: in a bubble, and as a store on
// a clock of its own. Then it runs two nodes of which something is broken
// between them.
func TestBroken(t *testing.T) {
	if name := os.Getenv(brokenVariable); name != "" {
		runBroken(t, name)
		return
	}
	for name, b := range broken() {
		seesBroken(t, name, b.sees)
		if !strings.HasPrefix(name, "loses") {
			seesBroken(t, servedPrefix+name, b.sees)
		}
	}
	for name, b := range brokenPairs() {
		seesBroken(t, pairPrefix+name, b.sees)
	}
}

const servedPrefix, pairPrefix = "served, ", "of two nodes, "

// runBroken runs the suite against one of them.
func runBroken(t *testing.T, name string) {
	if pair, ok := strings.CutPrefix(name, pairPrefix); ok {
		spooltest.RunServedInBubbles(t, func(*testing.T) spooltest.Served {
			return brokenPairs()[pair].open()
		})
		return
	}
	name, served := strings.CutPrefix(name, servedPrefix)
	open := broken()[name].open
	switch {
	case served:
		spooltest.RunServedInBubbles(t, func(*testing.T) spooltest.Served {
			return spooltest.Served{Store: open()}
		})
	case strings.HasPrefix(name, "loses"):
		spooltest.RunCrash(t, func(*testing.T) func() spool.Store { return open })
	default:
		spooltest.Run(t, func(*testing.T) spool.Store { return open() })
	}
}

// seesBroken sees that the suite fails, in the cases that must.
func seesBroken(t *testing.T, name string, sees []string) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		cmd := exec.Command(os.Args[0], "-test.run=^TestBroken$", "-test.timeout=2m")
		cmd.Env = append(os.Environ(), brokenVariable+"="+name)
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Fatal("the suite passes")
		}
		for _, c := range sees {
			if !strings.Contains(string(out), "--- FAIL: TestBroken/"+c+" ") {
				t.Errorf("%s does not see it:\n%s", c, out)
			}
		}
	})
}

type acknowledgesTwice struct{ *memspool.Store }

func (b acknowledgesTwice) Settle(ctx context.Context, s spool.Settlement) error {
	_ = b.Store.Settle(ctx, s)
	return nil
}

type dropsRecipient struct{ *memspool.Store }

func (b dropsRecipient) Settle(ctx context.Context, s spool.Settlement) error {
	if n := len(s.Remaining); n > 0 {
		s.Remaining = s.Remaining[:n-1]
	}
	return b.Store.Settle(ctx, s)
}

type forgetsEvents struct{ *memspool.Store }

func (b forgetsEvents) Settle(ctx context.Context, s spool.Settlement) error {
	s.Events = nil
	return b.Store.Settle(ctx, s)
}

type countsTokens struct {
	*memspool.Store
	mu   sync.Mutex
	last uint64
	real map[uint64]uint64
}

func (b *countsTokens) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	got, err := b.Store.Lease(ctx, r)
	for i := range got.Leases {
		b.last++
		b.real[b.last], got.Leases[i].Token = got.Leases[i].Token, b.last
	}
	return got, err
}

func (b *countsTokens) Settle(ctx context.Context, s spool.Settlement) error {
	b.mu.Lock()
	s.Token = b.real[s.Token]
	b.mu.Unlock()
	return b.Store.Settle(ctx, s)
}

type ignoresStreams struct{ *memspool.Store }

func (b ignoresStreams) Lease(
	ctx context.Context, r spool.LeaseRequest,
) (spool.Leased, error) {
	r.NotStreams = nil
	return b.Store.Lease(ctx, r)
}

type ignoresRoutes struct{ *memspool.Store }

func (b ignoresRoutes) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	r.NotRoutes = nil
	return b.Store.Lease(ctx, r)
}

// leasesTwice hands out some deliveries a second time.
type leasesTwice struct {
	*memspool.Store
	mu   sync.Mutex
	last []spool.Lease
}

func (b *leasesTwice) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	got, err := b.Store.Lease(ctx, r)
	fresh := got.Leases
	got.Leases = append(b.last, fresh...)
	b.last = fresh
	return got, err
}

type forgetsHolds struct{ *memspool.Store }

func (b forgetsHolds) Settle(ctx context.Context, s spool.Settlement) error {
	s.Held = false
	return b.Store.Settle(ctx, s)
}

type forgetsCrashes struct{ *memspool.Store }

func (b forgetsCrashes) Settle(ctx context.Context, s spool.Settlement) error {
	s.Crashes = 0
	return b.Store.Settle(ctx, s)
}

type renewsAll struct{ *memspool.Store }

func (b renewsAll) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) ([]spool.Held, error) {
	_, err := b.Store.Renew(ctx, ttl, held)
	return nil, err
}

type changesCommits struct {
	*memspool.Store
	change func(*spool.Commit)
}

func (b *changesCommits) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	w, err := b.Store.Create(ctx, id)
	return changedWriter{w, b.change}, err
}

type changedWriter struct {
	spool.Writer
	change func(*spool.Commit)
}

func (w changedWriter) Commit(ctx context.Context, c spool.Commit) error {
	w.change(&c)
	return w.Writer.Commit(ctx, c)
}

// settlesApart commits, then settles.
type settlesApart struct{ *memspool.Store }

func (b settlesApart) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	w, err := b.Store.Create(ctx, id)
	return apartWriter{w, b.Store}, err
}

type apartWriter struct {
	spool.Writer
	store *memspool.Store
}

func (w apartWriter) Commit(ctx context.Context, c spool.Commit) error {
	settle := c.Settle
	c.Settle = nil
	if err := w.Writer.Commit(ctx, c); err != nil {
		return err
	}
	for _, s := range settle {
		if err := w.store.Settle(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

type neverWakes struct{ *memspool.Store }

func (neverWakes) Wake() <-chan struct{} { return nil }

type prolongsCounters struct {
	*memspool.Store
	mu    sync.Mutex
	total map[string]int64
}

func (b *prolongsCounters) Add(
	_ context.Context, key string, n int64, _ time.Duration,
) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total == nil {
		b.total = map[string]int64{}
	}
	b.total[key] += n
	return b.total[key], nil
}
