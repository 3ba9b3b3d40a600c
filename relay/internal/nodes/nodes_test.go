package nodes_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/nodes"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// store can fail, or hang in one group.
type store struct {
	spool.Nodes
	mu    sync.Mutex
	fail  error
	hangs string // the group
}

func (s *store) Beat(
	ctx context.Context, group, member string, ttl time.Duration,
) (rank, live int, err error) {
	s.mu.Lock()
	fail, hangs := s.fail, s.hangs == group
	s.mu.Unlock()
	if fail != nil {
		return 0, 0, fail
	}
	if hangs {
		<-ctx.Done()
		return 0, 0, ctx.Err()
	}
	return s.Nodes.Beat(ctx, group, member, ttl)
}

func (s *store) Live(ctx context.Context, group string) (int, error) {
	s.mu.Lock()
	fail := s.fail
	s.mu.Unlock()
	if fail != nil {
		return 0, fail
	}
	return s.Nodes.Live(ctx, group)
}

func (s *store) set(fail error, hangs string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.hangs = fail, hangs
}

// node is one that runs.
type node struct {
	*nodes.Nodes
	*store
	mu      sync.Mutex
	routes  []string
	changed int
	stop    func()
}

func (n *node) serve(routes ...string) {
	n.mu.Lock()
	n.routes = routes
	n.mu.Unlock()
	n.Announce()
}

func begin(t *testing.T, m *memspool.Store, lease time.Duration, routes ...string) *node {
	n := &node{store: &store{Nodes: m}, routes: routes}
	n.Nodes = nodes.New(nodes.Config{
		Store: n.store, LeaseTime: lease, Logger: slog.New(slog.DiscardHandler),
		Routes: func() []string {
			n.mu.Lock()
			defer n.mu.Unlock()
			return slices.Clone(n.routes)
		},
		Changed: func() { n.changed++ },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	n.stop = func() { cancel(); <-done }
	t.Cleanup(n.stop)
	synctest.Wait()
	return n
}

// kill has a node give no sign of life any more.
func (n *node) kill() {
	n.set(errors.New("dead"), "")
	n.stop()
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func parts(limit int, list ...*node) (parts []int) {
	for _, n := range list {
		parts = append(parts, n.Part(limit))
	}
	return parts
}

// Relays divide a limit among those who live, and again as they come and go.
func TestPartsFollowWhoLives(t *testing.T) {
	for name, tt := range map[string]struct {
		lease, every, ttl time.Duration
	}{
		"by default":    {2 * time.Minute, 5 * time.Second, 30 * time.Second},
		"a short lease": {6 * time.Second, time.Second, 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				want := func(when string, limit int, want []int, list ...*node) {
					t.Helper()
					if got := parts(limit, list...); !slices.Equal(got, want) {
						t.Errorf("%s: parts of %d are %v, want %v", when, limit, got, want)
					}
				}
				m := memspool.New(nil)
				a := begin(t, m, tt.lease)
				want("alone", 20, []int{20}, a)
				b := begin(t, m, tt.lease)
				c := begin(t, m, tt.lease)
				time.Sleep(tt.every + time.Millisecond)
				want("three", 20, []int{7, 7, 6}, a, b, c)
				want("three", 2, []int{1, 1, 1}, a, b, c)
				a.stop()
				time.Sleep(tt.every + time.Millisecond)
				want("one has left", 21, []int{11, 10}, b, c)
				c.kill()
				time.Sleep(tt.ttl - 2*tt.every)
				want("one has died a moment ago", 21, []int{11}, b)
				time.Sleep(3 * tt.every)
				want("one has died", 21, []int{21}, b)
				if b.changed != 4 {
					t.Errorf("told of %d changes, want 4", b.changed)
				}
			})
		})
	}
}

// While the store does not answer the last figures count.
func TestLastFiguresCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := memspool.New(nil)
		a, b := begin(t, m, time.Minute), begin(t, m, time.Minute)
		time.Sleep(10 * time.Second)
		b.set(errors.New("down"), "")
		time.Sleep(10 * time.Minute)
		if rank, live := b.Rank(); rank != 1 || live != 2 {
			t.Errorf("rank %d of %d, want 1 of 2", rank, live)
		}
		if rank, live := a.Rank(); rank != 0 || live != 1 {
			t.Errorf("rank %d of %d, want 0 of 1", rank, live)
		}
		b.set(nil, "")
		time.Sleep(15 * time.Second)
		if got := parts(20, a, b); !slices.Equal(got, []int{10, 10}) {
			t.Errorf("parts %v", got)
		}
	})
}

// A call that hangs holds up neither the count nor the end.
func TestSlowStoreHoldsUpNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := memspool.New(nil)
		a := begin(t, m, 2*time.Minute, "send/a")
		a.set(nil, "route/send/a")
		a.Announce()
		time.Sleep(time.Second)
		b := begin(t, m, 2*time.Minute)
		time.Sleep(5 * time.Second)
		if got := parts(20, a, b); !slices.Equal(got, []int{10, 10}) {
			t.Errorf("parts %v", got)
		}
		b.stop()
		time.Sleep(5 * time.Second)
		begun := time.Now()
		a.stop()
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it took %v to leave", took)
		}
	})
}

// A store of one process has one relay.
func TestStoreOfOneProcess(t *testing.T) {
	n := nodes.New(nodes.Config{LeaseTime: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	n.Run(t.Context())
	n.Announce()
	if rank, live := n.Rank(); rank != 0 || live != 1 || n.Part(20) != 20 || n.Elsewhere("send/a") {
		t.Errorf("rank %d of %d, part %d", rank, live, n.Part(20))
	}
}
