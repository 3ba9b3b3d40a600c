package pgspool

import (
	"context"
	"errors"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	maxMembers    = 1000    // of all groups
	maxMemberName = 1 << 10 // bytes of group and member
)

var (
	_ spool.Nodes = (*Store)(nil)

	errMembers    = errors.New("pgspool: too many members")
	errMemberName = errors.New("pgspool: group and member are too long")
)

// Beat tells that a member of a group is alive. There are at most 1000 in all
// groups together.
func (s *Store) Beat(
	ctx context.Context, group, member string, ttl time.Duration,
) (rank, live int, err error) {
	if len(group)+len(member) > maxMemberName {
		return 0, 0, errMemberName
	}
	if err := s.enter(ctx); err != nil {
		return 0, 0, err
	}
	if ttl <= 0 {
		_, err := s.exec(ctx, s.pool,
			"DELETE FROM @node WHERE team = $1 AND member = $2", group, member)
		return 0, 0, failure(err)
	}
	err = s.row(ctx, s.pool, "SELECT rank, live FROM @beat($1, $2, $3::interval, $4)",
		group, member, ttl, maxMembers).Scan(&rank, &live)
	if err == nil && live == 0 {
		return 0, 0, errMembers
	}
	return rank, live, failure(err)
}

// Live returns how many members of a group are alive.
func (s *Store) Live(ctx context.Context, group string) (live int, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	err = s.row(ctx, s.pool,
		"SELECT count(*) FROM @node WHERE team = $1 AND ends > @clock()", group).Scan(&live)
	return live, failure(err)
}
