package spooltest_test

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

// brokenPair are two nodes that break a rule between them, and the cases that
// must see it.
type brokenPair struct {
	open func() spooltest.Served
	sees []string
}

// brokenPairs are those of each rule.
func brokenPairs() map[string]brokenPair {
	// pair has the other node changed.
	pair := func(change func(other *node) spool.Store) func() spooltest.Served {
		return func() spooltest.Served {
			p := newPlace()
			p.ends = true
			return spooltest.Served{Store: p.node(), Other: change(p.node())}
		}
	}
	list := brokenExpecterPairs()
	maps.Copy(list, map[string]brokenPair{
		"each has a queue of its own": {
			func() spooltest.Served {
				return spooltest.Served{Store: memspool.New(nil), Other: memspool.New(nil)}
			},
			[]string{
				"RoundTrip", "Exists", "Fencing", "ClaimRace", "LogOrder", "NodesRank", "Counter",
			},
		},
		"both lease what one holds": {
			func() spooltest.Served {
				p := newPlace()
				p.ends = true
				l := new(lent)
				return spooltest.Served{
					Store: &lends{p.node(), l}, Other: &lendsAgain{p.node(), l},
				}
			},
			[]string{"LeaseRace", "Fencing"},
		},
		"one never wakes": {
			pair(func(other *node) spool.Store { return neverWakesNode{other} }),
			[]string{"Waker", "WakerRelease"},
		},
		"one is not told of records": {
			pair(func(other *node) spool.Store { return neverTold{other} }),
			[]string{"LogAppended"},
		},
		"one looks once a minute": {
			pair(func(other *node) spool.Store { return &slow{node: other} }),
			[]string{"TwoPhase", "LeaseTokens", "Take"},
		},
		"one ends both": {
			pair(func(other *node) spool.Store { return endsBoth{other} }),
			[]string{"OtherCloses"},
		},
	})
	return list
}

// lent is what a node has leased last.
type lent struct {
	mu   sync.Mutex
	list []spool.Lease
}

type lends struct {
	*node
	lent *lent
}

func (b *lends) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	l, err := b.node.Lease(ctx, r)
	b.lent.mu.Lock()
	defer b.lent.mu.Unlock()
	b.lent.list = l.Leases
	return l, err
}

// lendsAgain hands out what the other node has leased last.
type lendsAgain struct {
	*node
	lent *lent
}

func (b *lendsAgain) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	b.lent.mu.Lock()
	again := b.lent.list
	b.lent.list = nil
	b.lent.mu.Unlock()
	if len(again) > 0 {
		return spool.Leased{Leases: again, Wait: -1}, nil
	}
	return b.node.Lease(ctx, r)
}

type neverWakesNode struct{ *node }

func (neverWakesNode) Wake() <-chan struct{} { return nil }

type neverTold struct{ *node }

func (neverTold) Appended() <-chan struct{} { return make(chan struct{}) }

// slow hands out nothing but once a minute.
type slow struct {
	*node
	mu   sync.Mutex
	last time.Time
}

func (b *slow) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.last) < time.Minute {
		return spool.Leased{Wait: time.Minute}, nil
	}
	b.last = time.Now()
	return b.node.Lease(ctx, r)
}

type endsBoth struct{ *node }

func (b endsBoth) Close() error { return b.node.Store.Close() }
