package spooltest

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// pair is a store of two nodes that have one place. Calls go to them by turns.
// It has every part but the Waker; whether the nodes have it is asked of them.
type pair struct {
	nodes [2]spool.Store
	calls atomic.Uint32
}

var (
	_ spool.Log       = (*pair)(nil)
	_ spool.Keys      = (*pair)(nil)
	_ spool.Manager   = (*pair)(nil)
	_ spool.Shared    = (*pair)(nil)
	_ spool.Nodes     = (*pair)(nil)
	_ spool.Gauge     = (*pair)(nil)
	_ spool.Committer = (*pair)(nil)
)

// next is the node whose turn it is.
func (p *pair) next() spool.Store { return p.nodes[p.calls.Add(1)%2] }

// nodes are the two of a Served, or the store itself.
func (s *suite) nodes() []spool.Store {
	if p, ok := s.Store.(*pair); ok {
		return p.nodes[:]
	}
	return []spool.Store{s.Store}
}

func (p *pair) Close() error { return errors.Join(p.nodes[0].Close(), p.nodes[1].Close()) }

func (p *pair) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	return p.next().Create(ctx, id)
}

func (p *pair) Open(ctx context.Context, id spool.ID) (io.ReadCloser, error) {
	return p.next().Open(ctx, id)
}

func (p *pair) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	return p.next().Lease(ctx, r)
}

func (p *pair) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) ([]spool.Held, error) {
	return p.next().Renew(ctx, ttl, held)
}

func (p *pair) Return(ctx context.Context, wait time.Duration, held []spool.Held) error {
	return p.next().Return(ctx, wait, held)
}

func (p *pair) Settle(ctx context.Context, s spool.Settlement) error {
	return p.next().Settle(ctx, s)
}

func (p *pair) Stats(ctx context.Context) (spool.Stats, error) { return p.next().Stats(ctx) }

func (p *pair) log() spool.Log { return p.next().(spool.Log) }

func (p *pair) Records(
	ctx context.Context, after spool.Cursor, max int,
) ([]spool.Logged, error) {
	return p.log().Records(ctx, after, max)
}

func (p *pair) Cursor(ctx context.Context, consumer string) (spool.Cursor, error) {
	return p.log().Cursor(ctx, consumer)
}

func (p *pair) Advance(ctx context.Context, consumer string, to spool.Cursor) error {
	return p.log().Advance(ctx, consumer, to)
}

func (p *pair) Truncate(ctx context.Context, before time.Time) error {
	return p.log().Truncate(ctx, before)
}

func (p *pair) Appended() <-chan struct{} { return p.log().Appended() }

func (p *pair) Bounds(ctx context.Context) (oldest, newest spool.Cursor, err error) {
	return p.log().Bounds(ctx)
}

func (p *pair) Claimed(
	ctx context.Context, scope, key string,
) (id spool.ID, digest [32]byte, ok bool, err error) {
	return p.next().(spool.Keys).Claimed(ctx, scope, key)
}

func (p *pair) manager() spool.Manager { return p.next().(spool.Manager) }

func (p *pair) Find(ctx context.Context, id spool.ID) (spool.Message, []spool.Item, error) {
	return p.manager().Find(ctx, id)
}

func (p *pair) List(ctx context.Context, q spool.Query) ([]spool.Item, error) {
	return p.manager().List(ctx, q)
}

func (p *pair) Take(
	ctx context.Context, id spool.DeliveryID, ttl time.Duration,
) (spool.Lease, error) {
	return p.manager().Take(ctx, id, ttl)
}

func (p *pair) shared() spool.Shared { return p.next().(spool.Shared) }

func (p *pair) Add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	return p.shared().Add(ctx, key, n, ttl)
}

func (p *pair) Get(ctx context.Context, key string) ([]byte, error) {
	return p.shared().Get(ctx, key)
}

func (p *pair) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return p.shared().Put(ctx, key, value, ttl)
}

func (p *pair) Beat(
	ctx context.Context, group, member string, ttl time.Duration,
) (rank, live int, err error) {
	return p.next().(spool.Nodes).Beat(ctx, group, member, ttl)
}

func (p *pair) Live(ctx context.Context, group string) (int, error) {
	return p.next().(spool.Nodes).Live(ctx, group)
}

func (p *pair) Free() (int64, error) { return p.next().(spool.Gauge).Free() }

func (p *pair) Commit(ctx context.Context, m *spool.Prepared) error {
	return p.next().(spool.Committer).Commit(ctx, m)
}
