package spooltest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

// TestServed has two nodes with one queue in memory, which are late to see what
// the other did.
func TestServed(t *testing.T) {
	spooltest.RunServedInBubbles(t, func(t *testing.T) spooltest.Served {
		p := newPlace()
		p.ends = true
		return p.open()
	})
}

// TestServedAlone has a node of its own.
func TestServedAlone(t *testing.T) {
	spooltest.RunServedInBubbles(t, func(t *testing.T) spooltest.Served {
		return spooltest.Served{Store: memspool.New(nil)}
	})
}

// TestServedDurable closes both nodes and opens them again.
func TestServedDurable(t *testing.T) {
	spooltest.RunServedDurableInBubbles(t, func(t *testing.T) func() spooltest.Served {
		p := newPlace()
		t.Cleanup(func() { p.Store.Close() })
		return p.open
	})
}

// lateness is how late the nodes of a place are.
const lateness = 900 * time.Millisecond

// place is a queue in memory that nodes have open.
type place struct {
	*memspool.Store
	ends bool // with its last node

	mu      sync.Mutex
	nodes   []*node
	changed time.Time // and by whom
	by      *node
}

func newPlace() *place { return &place{Store: memspool.New(nil)} }

func (p *place) open() spooltest.Served {
	return spooltest.Served{Store: p.node(), Other: p.node()}
}

func (p *place) node() *node {
	n := &node{Store: p.Store, place: p, wakes: make(chan struct{}, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes = append(p.nodes, n)
	return n
}

// change writes down what a node did, which wakes the others later.
func (p *place) change(by *node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed, p.by = time.Now(), by
	for _, n := range p.nodes {
		time.AfterFunc(lateness, func() {
			select {
			case n.wakes <- struct{}{}:
			default:
			}
		})
	}
}

func (p *place) isLate(n *node) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.by != n && time.Since(p.changed) < lateness
}

// node is one of several that have one place. What another has changed it sees
// in part first.
type node struct {
	*memspool.Store
	place *place
	wakes chan struct{}
}

func (n *node) Wake() <-chan struct{} { return n.wakes }

func (n *node) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	n.place.change(n)
	return n.Store.Create(ctx, id)
}

func (n *node) Settle(ctx context.Context, s spool.Settlement) error {
	n.place.change(n)
	return n.Store.Settle(ctx, s)
}

func (n *node) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	l, err := n.Store.Lease(ctx, r)
	if err != nil || !n.place.isLate(n) {
		return l, err
	}
	var seen []spool.Lease
	for i, l := range l.Leases {
		if i%2 == 1 {
			seen = append(seen, l)
			continue
		}
		h := []spool.Held{{ID: l.Delivery.ID, Token: l.Token}}
		if err := n.Store.Return(ctx, 0, h); err != nil {
			return spool.Leased{}, err
		}
	}
	return spool.Leased{Leases: seen, Wait: -1}, nil
}

func (n *node) Appended() <-chan struct{} {
	told, late := n.Store.Appended(), make(chan struct{})
	go func() {
		<-told
		time.AfterFunc(lateness, func() { close(late) })
	}()
	return late
}

func (n *node) Close() error {
	n.place.mu.Lock()
	defer n.place.mu.Unlock()
	nodes := n.place.nodes
	for i := range nodes {
		if nodes[i] == n {
			n.place.nodes = append(nodes[:i:i], nodes[i+1:]...)
			break
		}
	}
	if len(n.place.nodes) == 0 && n.place.ends {
		return n.Store.Close()
	}
	return nil
}
