package sched

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// State is how a site stands.
type State struct {
	Site
	// UnderWay are the attempts that go on, Limit is how many may, and Waiting
	// are the deliveries that were leased ahead.
	UnderWay, Limit, Waiting int
	// Until is when a site that nobody answered on is tried again. It may have
	// passed.
	Until time.Time
	// Keys lead there, without their streams.
	Keys []spool.Key
}

// desk is where others ask the goroutine that knows the sites.
type desk struct {
	asks chan question
	runs atomic.Bool // whoever asks is answered
}

// question is for at most so many sites.
type question struct {
	most   int
	answer chan states
}

// states is the answer to a question.
type states struct {
	list []State
	more int
}

// Sites returns the sites that something is known of, those with most under way
// first: so many at most, and how many more there are. It returns none while
// the scheduler does not run, and when ctx ends before it has answered: it may
// wait for the store.
func (d *desk) Sites(ctx context.Context, most int) (list []State, more int) {
	if !d.runs.Load() {
		return nil, 0
	}
	q := question{most: most, answer: make(chan states, 1)}
	select {
	case d.asks <- q:
		got := <-q.answer
		return got.list, got.more
	case <-ctx.Done():
		return nil, 0
	}
}

// states tells how the sites stand.
func (t *sites) states(most int, now time.Time) states {
	all := make([]*site, 0, len(t.all))
	for _, r := range t.all {
		if len(r.keys) > 0 {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *site) int {
		return cmp.Or(b.active-a.active, b.waiting-a.waiting, cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Source, b.Source))
	})
	n := min(most, len(all))
	got := states{list: make([]State, n), more: len(all) - n}
	for i, r := range all[:n] {
		got.list[i] = State{
			Site: r.Site, UnderWay: r.active, Waiting: r.waiting, Until: r.until,
			Limit: t.limitOf(r, now), Keys: r.appendKeys(nil),
		}
	}
	return got
}

// limitOf is how many deliveries a site may have under way now, whatever goes
// to others.
func (t *sites) limitOf(r *site, now time.Time) int {
	part := r.slower(t.cfg.Throttles, r.Site, now)
	n := r.limit
	for _, g := range r.gates {
		if g.Connections > 0 {
			n = min(n, g.Connections)
		}
	}
	return max(1, int(part*float64(n)))
}
