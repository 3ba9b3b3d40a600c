package memspool

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	maxMembers    = 1000    // of all groups
	maxMemberName = 1 << 10 // bytes of group and member
)

var (
	_ spool.Nodes = (*Store)(nil)

	errMembers    = errors.New("memspool: too many members")
	errMemberName = errors.New("memspool: group and member are too long")
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
	defer s.mu.Unlock()
	now := time.Now()
	if ttl <= 0 {
		s.members.end(func(m *memberOf) bool { return m.group == group && m.name == member })
		return 0, 0, nil
	}
	s.members.end(func(m *memberOf) bool { return !m.until.After(now) })
	return s.members.beat(memberOf{group: group, name: member, until: now.Add(ttl)})
}

// Live returns how many members of a group are alive.
func (s *Store) Live(ctx context.Context, group string) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	now, live := time.Now(), 0
	for i := range s.members {
		if m := &s.members[i]; m.group == group && m.until.After(now) {
			live++
		}
	}
	return live, nil
}

// members are those of all groups, who joined first in front.
type members []memberOf

type memberOf struct {
	group, name string
	until       time.Time
}

// end lets members go.
func (l *members) end(gone func(*memberOf) bool) {
	*l = slices.DeleteFunc(*l, func(m memberOf) bool { return gone(&m) })
}

// beat prolongs a membership or begins it, and returns the rank in the group
// and how many it has.
func (l *members) beat(b memberOf) (rank, live int, err error) {
	rank = -1
	for i := range *l {
		m := &(*l)[i]
		if m.group != b.group {
			continue
		}
		if m.name == b.name {
			m.until, rank = b.until, live
		}
		live++
	}
	if rank >= 0 {
		return rank, live, nil
	}
	if len(*l) >= maxMembers {
		return 0, 0, errMembers
	}
	*l = append(*l, b)
	return live, live + 1, nil
}
