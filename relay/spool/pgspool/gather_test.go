package pgspool

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gathering is how committers take what sessions commit, each of which waits
// for its commit and then pauses. A transaction takes as long as ten steps and
// those that are in it.
type gathering struct {
	steps steps
	pause func(session int) time.Duration

	mu      sync.Mutex
	since   map[*step]time.Time
	longest time.Duration // that a step has waited
	most    time.Duration // that a transaction has taken
	written int
	groups  int
}

func newGathering() *gathering {
	g := &gathering{
		since: make(map[*step]time.Time),
		pause: func(int) time.Duration { return 0 },
	}
	g.steps.more.L = &g.steps.mu
	return g
}

func costOf(n int) time.Duration { return time.Duration(10+n) * 200 * time.Microsecond }

// commitOn is a committer.
func (g *gathering) commitOn() {
	for g.steps.wait() {
		group := g.steps.take()
		g.taken(group)
		time.Sleep(costOf(len(group)))
		for _, t := range group {
			answer(t, nil)
		}
		g.steps.wrote()
	}
}

func (g *gathering) taken(group []*step) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.written, g.groups = g.written+len(group), g.groups+1
	g.most = max(g.most, costOf(len(group)))
	for _, t := range group {
		g.longest = max(g.longest, time.Since(g.since[t]))
		delete(g.since, t)
	}
}

// begin adds a step.
func (g *gathering) begin(ctx context.Context) *step {
	t := &step{ctx: ctx, done: make(chan error, 1)}
	g.mu.Lock()
	g.since[t] = time.Now()
	g.mu.Unlock()
	if err := g.steps.add(t); err != nil {
		answer(t, err)
	}
	return t
}

// run has sessions commit for a while.
func (g *gathering) run(sessions int, long time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	var all, writers sync.WaitGroup
	for range committers {
		writers.Go(g.commitOn)
	}
	for i := range sessions {
		all.Go(func() {
			for ctx.Err() == nil {
				<-g.begin(context.Background()).done
				time.Sleep(g.pause(i))
			}
		})
	}
	all.Wait()
	g.steps.close()
	writers.Wait()
}

// TestGatheringHoldsUpNobody: a step waits for what was under way when it came,
// and for its group to gather, and no longer.
func TestGatheringHoldsUpNobody(t *testing.T) {
	pauses := map[string]func(int) time.Duration{
		"at once": func(int) time.Duration { return 0 },
		"soon":    func(i int) time.Duration { return time.Duration(i%7) * 100 * time.Microsecond },
		"later":   func(i int) time.Duration { return time.Duration(i%10) * time.Millisecond },
		"one late": func(i int) time.Duration {
			return max(time.Duration(1-i), 0) * 50 * time.Millisecond
		},
	}
	for name, pause := range pauses {
		for _, n := range []int{1, 2, 7, 8, 9, 10, 11, 30, 64, 65, 100, 256} {
			t.Run(fmt.Sprint(n, " ", name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newGathering()
					g.pause = pause
					g.run(n, 4*time.Second)
					if g.longest > max(gatherTime, g.most) {
						t.Errorf("a step has waited for %v", g.longest)
					}
					t.Logf("%d written in groups of %.1f", g.written,
						float64(g.written)/float64(g.groups))
				})
			})
		}
	}
}

// TestGatheringTakesAll: what commits together is written together, as soon as
// the last of them has come.
func TestGatheringTakesAll(t *testing.T) {
	for _, n := range []int{10, 20, 60} {
		synctest.Test(t, func(t *testing.T) {
			g := newGathering()
			g.run(n, 4*time.Second)
			if want := int(3*time.Second/costOf(n)) * n; g.written < want {
				t.Errorf("%d sessions: %d written, want %d", n, g.written, want)
			}
		})
	}
}

// TestGatheringAlone has one step come after a group of many: it waits for
// others once, and not if the store ends or nobody waits for it any more.
func TestGatheringAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGathering()
		var writers sync.WaitGroup
		for range committers {
			writers.Go(g.commitOn)
		}
		many := func() { // were in the group before
			g.steps.mu.Lock()
			defer g.steps.mu.Unlock()
			g.steps.before = 30
		}
		alone := func(ctx context.Context) time.Duration {
			begin := time.Now()
			<-g.begin(ctx).done
			return time.Since(begin)
		}
		many()
		if first := alone(t.Context()); first != gatherTime+costOf(1) {
			t.Errorf("the first waits for %v", first)
		}
		if next := alone(t.Context()); next != costOf(1) {
			t.Errorf("the next waits for %v", next)
		}
		many()
		ctx, cancel := context.WithCancel(t.Context())
		gone := g.begin(ctx)
		cancel()
		if !g.steps.remove(gone) {
			t.Error("it was taken")
		}
		last := g.begin(t.Context())
		begin := time.Now()
		g.steps.close()
		if err := <-last.done; err != nil || time.Since(begin) != costOf(1) {
			t.Errorf("at the end it is answered %v after %v", err, time.Since(begin))
		}
		writers.Wait()
	})
}
