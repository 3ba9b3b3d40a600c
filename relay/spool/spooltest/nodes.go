package spooltest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

func nodesCases() []testCase {
	return []testCase{
		{"NodesRank", hasNodes, (*suite).nodesRank},
		{"NodesLeave", hasNodes, (*suite).nodesLeave},
		{"NodesEnd", hasNodes, (*suite).nodesEnd},
		{"NodesGroups", hasNodes, (*suite).nodesGroups},
		{"NodesRace", hasNodes, (*suite).nodesRace},
		{"NodesClosed", hasNodes, (*suite).nodesClosed},
	}
}

func hasNodes(s spool.Store) bool { _, ok := s.(spool.Nodes); return ok }

// beat has a member of a group live for ttl, and sees its rank of how many.
func (s *suite) beat(group, member string, ttl time.Duration, rank, live int) {
	s.Helper()
	gotRank, gotLive, err := s.Store.(spool.Nodes).Beat(s.Context(), group, member, ttl)
	s.ok(err)
	if gotRank != rank || gotLive != live {
		s.Fatalf("%s of %s is %d of %d, want %d of %d",
			member, group, gotRank, gotLive, rank, live)
	}
}

// live sees how many members a group has.
func (s *suite) live(group string, want int) {
	s.Helper()
	got, err := s.Store.(spool.Nodes).Live(s.Context(), group)
	s.ok(err)
	if got != want {
		s.Fatalf("%d of %s are alive, want %d", got, group, want)
	}
}

// nodesRank ranks by who joined first, whatever the names and who beats when.
func (s *suite) nodesRank() {
	for i, member := range []string{"m", "z", "a"} {
		s.beat("g", member, time.Hour, i, i+1)
		s.sleep(time.Minute)
	}
	s.beat("g", "a", time.Hour, 2, 3)
	s.beat("g", "z", 2*time.Hour, 1, 3)
	s.beat("g", "m", time.Hour, 0, 3)
	s.sleep(time.Minute)
	s.beat("g", "z", time.Hour, 1, 3)
}

// nodesLeave lets a member go at once; it comes back behind the others.
func (s *suite) nodesLeave() {
	s.beat("g", "a", time.Hour, 0, 1)
	s.beat("g", "b", time.Hour, 1, 2)
	s.beat("g", "c", time.Hour, 2, 3)
	s.beat("g", "a", 0, 0, 0)
	s.beat("g", "a", 0, 0, 0) // it is gone already
	s.beat("g", "c", time.Hour, 1, 2)
	s.beat("g", "b", time.Hour, 0, 2)
	s.beat("g", "a", time.Hour, 2, 3)
	s.live("g", 3)
	s.beat("g", "b", -time.Second, 0, 0)
	s.live("g", 2)
	s.beat("g", "a", time.Hour, 1, 2)
	s.live("none", 0) // and asking is not joining
	s.beat("none", "a", 0, 0, 0)
	s.beat("none", "b", time.Hour, 0, 1)
}

// nodesEnd ends a membership with the ttl of the last beat, longer or shorter
// than the one before. Who comes back comes back behind the others.
func (s *suite) nodesEnd() {
	s.beat("g", "a", time.Minute, 0, 1)
	s.beat("g", "b", time.Hour, 1, 2)
	s.beat("g", "c", time.Hour, 2, 3)
	s.sleep(time.Minute - s.margin)
	s.live("g", 3)
	s.beat("g", "b", time.Hour, 1, 3)
	s.sleep(s.margin)
	s.live("g", 2)
	s.beat("g", "b", time.Hour, 0, 2)
	s.beat("g", "a", 2*time.Hour, 2, 3)
	s.beat("g", "b", time.Minute, 0, 3) // sooner than it said before
	s.sleep(time.Minute)
	s.beat("g", "c", 3*time.Hour, 0, 2)
	s.sleep(time.Hour)
	s.beat("g", "a", time.Hour, 1, 2)
}

// nodesGroups keeps groups apart.
func (s *suite) nodesGroups() {
	s.beat("g", "a", time.Hour, 0, 1)
	s.beat("g/h", "a", time.Hour, 0, 1)
	s.beat("g", "h/a", time.Hour, 1, 2)
	s.beat("G", "a", time.Hour, 0, 1)
	s.beat("g/h", "b", time.Hour, 1, 2)
	s.live("g", 2)
	s.live("G", 1)
	s.beat("g", "a", 0, 0, 0)
	s.beat("g/h", "a", time.Hour, 0, 2)
	s.beat("g", "h/a", time.Hour, 0, 1)
}

// nodesRace has many join at once: each has a rank of its own.
func (s *suite) nodesRace() {
	const n = 8
	ranks := make([]int, n)
	beat := func(i int) {
		rank, live, err := s.Store.(spool.Nodes).Beat(
			s.Context(), "g", fmt.Sprint(i), time.Hour,
		)
		if err != nil || rank < 0 || rank >= live || live > n {
			s.Errorf("member %d is %d of %d, %v", i, rank, live, err)
		}
		ranks[i] = rank
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { beat(i) })
	}
	wg.Wait()
	seen := make(map[int]bool)
	for i := range n {
		beat(i)
		seen[ranks[i]] = true
	}
	if len(seen) != n {
		s.Fatalf("the ranks are %v", ranks)
	}
}

// nodesClosed refuses who comes too late, and counts nobody whose context is
// done.
func (s *suite) nodesClosed() {
	s.beat("g", "a", time.Hour, 0, 1)
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	_, _, err := s.Store.(spool.Nodes).Beat(ctx, "g", "b", time.Hour)
	s.is(err, context.Canceled)
	_, _, err = s.Store.(spool.Nodes).Beat(ctx, "g", "a", 0)
	s.is(err, context.Canceled)
	_, err = s.Store.(spool.Nodes).Live(ctx, "g")
	s.is(err, context.Canceled)
	s.beat("g", "a", time.Hour, 0, 1)
	s.ok(s.Close())
	_, err = s.Store.(spool.Nodes).Live(s.Context(), "g")
	s.is(err, spool.ErrClosed)
	_, _, err = s.Store.(spool.Nodes).Beat(s.Context(), "g", "a", time.Hour)
	s.is(err, spool.ErrClosed)
}
