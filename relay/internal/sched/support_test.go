package sched_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

// bench runs a scheduler of 100 places over routes named CONNECTOR/WHAT, where
// WHAT says how they behave: "slow" ones hold an attempt for a minute, "dead"
// ones cannot be reached after a minute, all others take 10 milliseconds. The
// origin is in Message.From; "reports of X" are reports.
type bench struct {
	store spool.Store
	sched *sched.Scheduler
	begun time.Time

	mu       sync.Mutex
	active   map[string]int // by route, connector, origin and message
	peak     map[string]int
	all      int
	most     int
	first    map[string]time.Duration // when the route's first attempt ended
	last     map[string]time.Duration
	count    map[string]int
	overdue  func(l *spool.Lease) (sched.Overdue, time.Time)
	conclude func(l *spool.Lease)
	takes    map[string]time.Duration // by route
}

func onTime(*spool.Lease) (sched.Overdue, time.Time) { return sched.OnTime, time.Time{} }

func newBench(t *testing.T, store spool.Store) *bench { return benchOf(t, store, 100) }

func benchOf(t *testing.T, store spool.Store, places int) *bench {
	return benchWith(t, store, func(cfg *sched.Config) { cfg.Concurrency = places })
}

func benchWith(t *testing.T, store spool.Store, change func(*sched.Config)) *bench {
	b := &bench{
		store: store, begun: time.Now(),
		active: map[string]int{}, peak: map[string]int{}, count: map[string]int{},
		first: map[string]time.Duration{}, last: map[string]time.Duration{},
		overdue:  onTime,
		conclude: func(*spool.Lease) { t.Error("concluded what is on time") },
		takes:    map[string]time.Duration{},
	}
	cfg := sched.Config{
		Store: store, Concurrency: 100, Logger: slog.New(slog.DiscardHandler),
		RouteLimit: func(spool.Key) int { return 20 },
		Local:      []string{"mailbox", "transport"},
		Owner: func(l *spool.Lease) sched.Owner {
			connector, _, _ := strings.Cut(l.Delivery.Key.Route, "/")
			origin, report := strings.CutPrefix(l.Message.From, "reports of ")
			return sched.Owner{Connector: connector, Origin: origin, Report: report}
		},
		Deliver:  whole(b.deliver),
		Overdue:  func(l *spool.Lease) (sched.Overdue, time.Time) { return b.overdue(l) },
		Conclude: func(_ context.Context, l *spool.Lease) { b.conclude(l) },
	}
	change(&cfg)
	b.sched = sched.New(cfg)
	return b
}

// whole delivers, with a place at the site until that is settled.
func whole(
	deliver func(context.Context, *spool.Lease) sched.Lesson,
) func(context.Context, *spool.Lease, func(sched.Lesson)) {
	return func(ctx context.Context, l *spool.Lease, left func(sched.Lesson)) {
		left(deliver(ctx, l))
	}
}

// run runs the scheduler for a while of the bubble's time.
func (b *bench) run(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	b.sched.Run(ctx, ctx)
}

func (b *bench) keys(l *spool.Lease) []string {
	connector, _, _ := strings.Cut(l.Delivery.Key.Route, "/")
	return []string{l.Delivery.Key.Route, connector, l.Message.From, l.Message.ID.String()}
}

func (b *bench) note(l *spool.Lease, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all += n
	b.most = max(b.most, b.all)
	for _, k := range b.keys(l) {
		b.active[k] += n
		b.peak[k] = max(b.peak[k], b.active[k])
	}
	if route := l.Delivery.Key.Route; n < 0 {
		b.count[route]++
		b.last[route] = time.Since(b.begun)
		if b.count[route] == 1 {
			b.first[route] = b.last[route]
		}
	}
}

func (b *bench) deliver(ctx context.Context, l *spool.Lease) sched.Lesson {
	b.note(l, 1)
	defer b.note(l, -1)
	takes, health := 10*time.Millisecond, sched.Reached
	s := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
	if strings.Contains(l.Delivery.Key.Route, "slow") {
		takes = time.Minute
	}
	if d := b.takes[l.Delivery.Key.Route]; d > 0 {
		takes = d
	}
	if strings.Contains(l.Delivery.Key.Route, "dead") {
		takes, health = time.Minute, sched.Unreachable
		s.Remaining, s.Wait = l.Delivery.Recipients, 2*time.Minute
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		s.Remaining, s.Due = l.Delivery.Recipients, l.Delivery.Due
	}
	_ = b.store.Settle(context.Background(), s)
	return sched.Lesson{Health: health}
}

// commit queues one message for some routes.
func commit(t *testing.T, s spool.Store, origin string, routes ...string) {
	t.Helper()
	keys := make([]spool.Key, len(routes))
	for i, route := range routes {
		keys[i].Route = route
	}
	commitKeys(t, s, origin, keys...)
}

func commitKeys(t *testing.T, s spool.Store, origin string, keys ...spool.Key) {
	t.Helper()
	now := time.Now()
	id := spool.NewID(now)
	w, err := s.Create(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	c := spool.Commit{Message: spool.Message{ID: id, Created: now, From: origin}}
	for _, k := range keys {
		c.Deliveries = append(c.Deliveries, spool.Delivery{
			Key:        k,
			Recipients: []spool.Recipient{{Address: "x@example.test"}},
			Due:        now, Expires: now.Add(time.Hour),
		})
	}
	if err := w.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func routes(pattern string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(pattern, i)
	}
	return list
}

// each queues a message of its own for each route.
func each(t *testing.T, s spool.Store, origin string, list []string) {
	t.Helper()
	for _, route := range list {
		commit(t, s, origin, route)
	}
}
