// Package sched leases due deliveries from the spool and hands them to
// workers: bounded overall, bounded for each route, and careful with routes that do not answer.
//
// # Routes
//
// A route begins with a few workers and gains one with each success up to its
// limit (slow start). When its next hop cannot be reached several times in a row
// the route rests for a while (cool-off), then a single delivery tries it.
//
// # Concurrency
//
// One goroutine runs [Scheduler.Run] and owns all state; each delivery has a
// goroutine of its own, which ends with the delivery.
package sched

import (
	"context"
	"log/slog"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	leaseTTL     = time.Hour       // longer than any attempt may last
	idleWait     = 5 * time.Second // between looks at a store that knows of nothing
	storeWait    = time.Second     // after a failing store
	slowStart    = 5               // workers a route begins with
	coolAfter    = 3               // failures in a row before a route rests
	coolFirst    = time.Second
	coolMax      = time.Minute
	maxIdleRoute = 1024 // routes remembered without work
)

// Health is what a delivery taught about its route.
type Health uint8

const (
	// Reached: the next hop answered, whatever it said.
	Reached Health = iota
	// Unreachable: no host of the next hop could be talked to.
	Unreachable
)

// Config configures a Scheduler. Every field is required.
type Config struct {
	Store spool.Store
	// Concurrency bounds the deliveries under way at once.
	Concurrency int
	// RouteLimit bounds those of one route.
	RouteLimit func(route string) int
	// Deliver makes one attempt and settles the lease.
	Deliver func(ctx context.Context, l *spool.Lease) Health
	Logger  *slog.Logger
}

// Scheduler hands deliveries to workers.
type Scheduler struct {
	cfg    Config
	wake   chan struct{}
	done   chan finished
	active int
	routes map[string]*route
	// backlog holds leased deliveries whose route had no free worker.
	backlog []*spool.Lease
	busy    []string // scratch for LeaseRequest
}

type route struct {
	active   int
	limit    int // of slow start
	waiting  int // in the backlog
	failures int
	until    time.Time // resting until then
}

type finished struct {
	route  string
	health Health
}

// New returns a scheduler that does nothing yet.
func New(cfg Config) *Scheduler {
	return &Scheduler{
		cfg:    cfg,
		wake:   make(chan struct{}, 1),
		done:   make(chan finished, cfg.Concurrency),
		routes: make(map[string]*route),
	}
}

// Wake tells that deliveries may have become due. It never blocks.
func (s *Scheduler) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends, then waits for the deliveries under way, which
// see work end. What was leased and not begun is given back.
func (s *Scheduler) Run(ctx, work context.Context) {
	var external <-chan struct{}
	if w, ok := s.cfg.Store.(spool.Waker); ok {
		external = w.Wake()
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(s.fill(ctx, work))
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-external:
		case <-timer.C:
		case f := <-s.done:
			s.finish(f)
			s.drainDone()
		}
	}
	for s.active > 0 {
		s.finish(<-s.done)
	}
	s.giveBack()
}

// drainDone takes what else has finished, so that one lease call fills all free places.
func (s *Scheduler) drainDone() {
	for {
		select {
		case f := <-s.done:
			s.finish(f)
		default:
			return
		}
	}
}

// fill starts what can be started and returns how long to wait for more.
func (s *Scheduler) fill(ctx, work context.Context) time.Duration {
	now := time.Now()
	s.startBacklog(work, now)
	for {
		free := s.cfg.Concurrency - s.active - len(s.backlog)
		if free <= 0 {
			return idleWait
		}
		rest := s.markBusy(now)
		leased, err := s.cfg.Store.Lease(ctx, spool.LeaseRequest{
			Now: now, Max: free, TTL: leaseTTL, Busy: s.busy, MaxPerRoute: max(1, s.cfg.Concurrency/4),
		})
		if err != nil {
			if ctx.Err() == nil {
				s.cfg.Logger.Error("spool does not lease", "err", err)
			}
			return storeWait
		}
		for i := range leased.Leases {
			l := &leased.Leases[i]
			r := s.route(l.Delivery.Route)
			if s.free(r, now) {
				s.start(work, l, r)
			} else {
				r.waiting++
				s.backlog = append(s.backlog, l)
			}
		}
		switch {
		case len(leased.Leases) > 0 && !leased.Next.IsZero() && !leased.Next.After(now):
			continue // more is due of routes that may take it
		case leased.Next.IsZero():
			return min(idleWait, rest)
		default:
			return min(max(leased.Next.Sub(now), 0)+time.Millisecond, idleWait, rest)
		}
	}
}

// markBusy collects the routes that can take nothing now and returns
// when the first resting one wakes.
func (s *Scheduler) markBusy(now time.Time) time.Duration {
	rest := idleWait
	s.busy = s.busy[:0]
	for name, r := range s.routes {
		if r.until.After(now) {
			rest = min(rest, r.until.Sub(now))
		}
		if r.waiting > 0 || !s.free(r, now) {
			s.busy = append(s.busy, name)
		}
	}
	return rest
}

func (s *Scheduler) free(r *route, now time.Time) bool {
	if r.failures >= coolAfter {
		return r.active == 0 && !r.until.After(now) // one may try
	}
	return r.active < r.limit
}

func (s *Scheduler) route(name string) *route {
	r := s.routes[name]
	if r == nil {
		if len(s.routes) > maxIdleRoute {
			s.forget()
		}
		r = &route{limit: min(slowStart, max(1, s.cfg.RouteLimit(name)))}
		s.routes[name] = r
	}
	return r
}

func (s *Scheduler) forget() {
	for name, r := range s.routes {
		if r.active == 0 && r.waiting == 0 && r.failures < coolAfter {
			delete(s.routes, name)
		}
	}
}

func (s *Scheduler) start(work context.Context, l *spool.Lease, r *route) {
	s.active++
	r.active++
	go func() {
		f := finished{route: l.Delivery.Route, health: Unreachable}
		defer func() {
			if p := recover(); p != nil {
				s.cfg.Logger.Error("delivery panicked", "queue_id", l.Message.ID.String(), "panic", p)
			}
			s.done <- f
		}()
		f.health = s.cfg.Deliver(work, l)
	}()
}

func (s *Scheduler) startBacklog(work context.Context, now time.Time) {
	kept := s.backlog[:0]
	for _, l := range s.backlog {
		r := s.route(l.Delivery.Route)
		if s.active < s.cfg.Concurrency && s.free(r, now) {
			r.waiting--
			s.start(work, l, r)
		} else {
			kept = append(kept, l)
		}
	}
	clear(s.backlog[len(kept):])
	s.backlog = kept
}

func (s *Scheduler) finish(f finished) {
	s.active--
	r := s.route(f.route)
	r.active--
	if f.health == Reached {
		r.failures, r.until = 0, time.Time{}
		r.limit = min(r.limit+1, max(1, s.cfg.RouteLimit(f.route)))
		return
	}
	r.failures++
	if r.failures >= coolAfter {
		rest := coolMax
		if n := r.failures - coolAfter; n < 6 {
			rest = min(coolMax, coolFirst<<n)
		}
		r.until = time.Now().Add(rest)
		r.limit = 1
	}
}

// giveBack returns what was leased and never begun, so that the next run finds it due.
func (s *Scheduler) giveBack() {
	ctx, cancel := context.WithTimeout(context.Background(), storeWait)
	defer cancel()
	for _, l := range s.backlog {
		if l.Damaged != nil {
			continue // nobody would hear of it: its lease ends by itself
		}
		err := s.cfg.Store.Settle(ctx, spool.Settlement{
			ID: l.Delivery.ID, Token: l.Token,
			Remaining: l.Delivery.Recipients, Due: l.Delivery.Due, Attempts: l.Delivery.Attempts,
		})
		if err != nil {
			s.cfg.Logger.Warn("delivery not given back", "queue_id", l.Message.ID.String(), "err", err)
		}
	}
	s.backlog = nil
}
