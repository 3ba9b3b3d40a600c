package spooltest_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool/memspool"
)

type neverLeaves struct{ *memspool.Store }

func (b neverLeaves) Beat(
	ctx context.Context, group, member string, ttl time.Duration,
) (rank, live int, err error) {
	rank, live, err = b.Store.Beat(ctx, group, member, 100*time.Hour)
	if ttl <= 0 {
		return 0, 0, err
	}
	return rank, live, err
}

// keepsRanks counts who is alive, and ranks by who was there first at all.
type keepsRanks struct {
	*memspool.Store
	mu    sync.Mutex
	first []string
}

func (b *keepsRanks) Beat(
	ctx context.Context, group, member string, ttl time.Duration,
) (rank, live int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, live, err = b.Store.Beat(ctx, group, member, ttl)
	if ttl <= 0 || err != nil {
		return 0, 0, err
	}
	name := group + "\x00" + member
	if !slices.Contains(b.first, name) {
		b.first = append(b.first, name)
	}
	return slices.Index(b.first, name), live, nil
}

// ranksByBeat has each beat join anew.
type ranksByBeat struct{ *memspool.Store }

func (b ranksByBeat) Beat(
	ctx context.Context, group, member string, ttl time.Duration,
) (rank, live int, err error) {
	if _, _, err := b.Store.Beat(ctx, group, member, 0); err != nil {
		return 0, 0, err
	}
	return b.Store.Beat(ctx, group, member, ttl)
}

type oneGroup struct{ *memspool.Store }

func (b oneGroup) Beat(
	ctx context.Context, _, member string, ttl time.Duration,
) (rank, live int, err error) {
	return b.Store.Beat(ctx, "", member, ttl)
}

// countsAll counts whoever has been a member.
type countsAll struct {
	*memspool.Store
	mu   sync.Mutex
	seen map[string]map[string]bool
}

func (b *countsAll) Beat(
	ctx context.Context, group, member string, ttl time.Duration,
) (rank, live int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen == nil {
		b.seen = map[string]map[string]bool{}
	}
	if b.seen[group] == nil {
		b.seen[group] = map[string]bool{}
	}
	b.seen[group][member] = true
	return b.Store.Beat(ctx, group, member, ttl)
}

func (b *countsAll) Live(_ context.Context, group string) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen[group]), nil
}
