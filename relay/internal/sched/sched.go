// Package sched leases due deliveries from the spool and hands them to workers:
// bounded overall, for each route and for each owner, and careful with routes
// that do not answer.
//
// # Places
//
// Of [Config].Concurrency places a tenth, but one of two at least, is for local
// routes alone (mailboxes and the application's transports), and a tenth for
// conclusions. Of the others, which are open to all routes,
//
//   - a send connector, with all its routes, may hold at most twice as many as
//     are left free, so that there are always some;
//   - an origin (a user, a host or the application) at most four times as many
//     as are left free;
//   - a message an eighth;
//   - the reports that one origin has caused an eighth, all reports a quarter;
//   - the routes that nobody answered on, when last tried, a quarter.
//
// A connector, an origin or a message leaves one place at least, if there are
// two.
//
// A route begins with a few places and gains one with each success up to its
// limit (slow start). When its next hop cannot be reached several times in a
// row the route rests for a while (cool-off), then a single delivery tries it.
//
// # What waits
//
// A delivery holds a place only while its attempt goes on. Deliveries of a
// route that has no room are not leased, unless its attempts go on to end: then
// up to as many as may be under way on it are leased ahead, and in all twice as
// many as there are free places. What waits so while nothing ends for a second
// goes back to the store. One that somebody else's bound keeps from beginning
// goes back to the store at once, for a tenth of a millisecond to 15 seconds:
// each such bound sends those it keeps back in a row, so that looking at them
// again costs little however many they are.
//
// # What is overdue
//
// A delivery that [Config].Overdue calls Expired is concluded, not attempted.
// Once a second, what has become due of routes in trouble is looked at, and
// concluded if it is Expired or Late, or Untried, which takes half of the
// places at most. The rest is left alone until that changes or its route has
// rested: a thousand of them for a second at least, 5 seconds if the route does
// not rest, a minute at most.
//
// # Time
//
// A lease lasts an hour by the store's clock. If that clock jumps, the store
// hands out again what is under way here: it is not begun a second time, and
// [Scheduler.Token] tells the token of the newer lease.
//
// # Concurrency
//
// One goroutine runs [Scheduler.Run] and owns all state; each delivery has a
// goroutine of its own, which ends with the delivery.
package sched

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	leaseTTL     = time.Hour       // longer than any attempt may last
	idleWait     = 5 * time.Second // between looks at a store that knows of nothing
	storeWait    = time.Second     // after a failing store
	slowStart    = 5               // places a route begins with
	coolAfter    = 3               // failures in a row before a route rests
	coolFirst    = time.Second
	coolMax      = time.Minute
	maxIdleRoute = 1024 // routes remembered without work
	lookOnce     = 1024 // deliveries looked at before others have their turn
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
	// RouteLimit bounds those of one route and domain, whatever their streams.
	RouteLimit func(k spool.Key) int
	// Local are the routes that end in this process.
	Local []string
	// Owner tells for whom a delivery holds its place.
	Owner func(l *spool.Lease) Owner
	// Deliver makes one attempt and settles the lease.
	Deliver func(ctx context.Context, l *spool.Lease) Health
	// Overdue tells what a delivery has coming without an attempt, and when
	// that changes; zero if it does not.
	Overdue func(l *spool.Lease) (Overdue, time.Time)
	// Conclude settles a delivery that is Expired or Late without an attempt,
	// and one that is Untried after one.
	Conclude func(ctx context.Context, l *spool.Lease)
	Logger   *slog.Logger
}

// Scheduler hands deliveries to workers.
type Scheduler struct {
	cfg    Config
	wake   chan struct{}
	done   chan finished
	active int // attempts under way
	bounds bounds
	routes map[spool.Key]*route // by keys without streams
	groups map[key]*group
	parts  map[spool.ID]*group // messages
	ahead  []*route            // those with deliveries waiting
	sweep  sweep
	busy   []spool.Key // scratch for LeaseRequest

	spareGroups spares[group]
	spareRuns   spares[run]

	mu   sync.Mutex // guards held, and is locked while the store leases
	held map[spool.DeliveryID]held
}

type route struct {
	group
	key      spool.Key      // without stream
	waiting  []*spool.Lease // leased ahead
	reached  bool           // when last tried
	local    bool
	limit    int // of slow start
	failures int
	until    time.Time // resting until then
}

type finished struct {
	lease   *spool.Lease
	run     *run // nil for a conclusion
	untried bool // a conclusion with an attempt
	health  Health
}

// New returns a scheduler that does nothing yet.
func New(cfg Config) *Scheduler {
	b := boundsOf(cfg.Concurrency)
	return &Scheduler{
		cfg:    cfg,
		wake:   make(chan struct{}, 1),
		done:   make(chan finished, cfg.Concurrency+b.conclusions),
		bounds: b,
		routes: make(map[spool.Key]*route),
		groups: make(map[key]*group),
		parts:  make(map[spool.ID]*group),
		held:   make(map[spool.DeliveryID]held),
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
	for s.active+s.sweep.active > 0 {
		s.finish(<-s.done)
	}
	for _, l := range s.sweep.waiting {
		s.returnHeld(l, time.Now())
	}
	s.sweep.waiting = nil
	for _, r := range s.ahead {
		s.returnWaiting(r, time.Now())
	}
	s.ahead = nil
}

// drainDone takes what else has finished, so that one lease call fills all free
// places.
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
	s.concludeWaiting(work)
	s.startWaiting(work)
	wait, ok := s.fillOpen(ctx, work)
	if ok {
		wait = min(wait, s.sweepRoutes(ctx, work))
	}
	return wait
}

// fillOpen starts deliveries of all routes that have room, oldest due first. It
// is not ok if the store fails.
func (s *Scheduler) fillOpen(ctx, work context.Context) (wait time.Duration, ok bool) {
	for looked := 0; ; {
		now := time.Now()
		rest, each := s.markBusy(now)
		want := s.free()
		if want <= 0 {
			return s.fillLocal(ctx, work)
		}
		leased, err := s.lease(ctx, spool.LeaseRequest{
			Max: want, TTL: leaseTTL, Busy: s.busy, MaxPerKey: each,
		})
		if err != nil {
			return storeWait, false
		}
		for i := range leased.Leases {
			s.take(work, &leased.Leases[i], now)
		}
		looked += len(leased.Leases)
		due := leased.Wait == 0
		switch {
		case looked >= lookOnce:
			return time.Millisecond, true
		case len(leased.Leases) == want: // those of local routes may stand behind
			if wait, ok = s.fillLocal(ctx, work); !ok {
				return wait, false
			}
		case len(leased.Leases) > 0 && due: // more is due of routes that may take it
		case leased.Wait < 0:
			return min(idleWait, rest), true
		default:
			return min(leased.Wait+time.Millisecond, idleWait, rest), true
		}
	}
}

// fillLocal starts deliveries of local routes, which have places of their own.
func (s *Scheduler) fillLocal(ctx, work context.Context) (time.Duration, bool) {
	now, wait := time.Now(), idleWait
	for _, name := range s.cfg.Local {
		k := spool.Key{Route: name}
		r := s.route(k)
		n := min(s.room(r, now), s.bounds.all-s.active)
		if n <= 0 {
			continue
		}
		leased, err := s.lease(ctx, spool.LeaseRequest{
			Max: n, TTL: leaseTTL, Only: []spool.Key{k},
		})
		if err != nil {
			return storeWait, false
		}
		for i := range leased.Leases {
			s.take(work, &leased.Leases[i], now)
		}
		if leased.Wait > 0 {
			wait = min(wait, leased.Wait+time.Millisecond)
		}
	}
	return wait, true
}

// markBusy collects the routes that can take nothing now. It returns when the
// first resting one wakes, and how much each of the others can take.
func (s *Scheduler) markBusy(now time.Time) (rest time.Duration, each int) {
	rest, each = idleWait, slowStart
	s.busy = s.busy[:0]
	more := s.more()
	for k, r := range s.routes {
		if r.until.After(now) {
			rest = min(rest, r.until.Sub(now))
		}
		if n := s.capacity(r, more, now); n > 0 {
			each = min(each, n)
		} else {
			s.busy = append(s.busy, k)
		}
	}
	return rest, each
}

// room is how many deliveries of a route may be begun now, if nothing else
// keeps them.
func (s *Scheduler) room(r *route, now time.Time) int {
	switch {
	case r.failures > 0 && !r.local && s.bounds.troubled.active >= s.bounds.trouble:
		return 0
	case r.failures >= coolAfter:
		if r.active > 0 || r.until.After(now) {
			return 0
		}
		return 1 // may try
	}
	return r.limit - r.active
}

// take begins a delivery that was leased, or finds something else to do with
// it.
func (s *Scheduler) take(work context.Context, l *spool.Lease, now time.Time) {
	if s.again(l) {
		return
	}
	if state, _ := s.cfg.Overdue(l); state == Expired {
		s.conclude(work, l, now)
		return
	}
	r := s.route(l.Delivery.Key)
	if s.room(r, now) <= 0 && r.goesOn(now) && len(r.waiting) < r.limit {
		s.hold(l)
		if r.waiting = append(r.waiting, l); len(r.waiting) == 1 {
			s.ahead = append(s.ahead, r)
		}
		return
	}
	if by := s.begin(work, l, r, now); by != nil {
		s.giveBack(l, by.turn(now))
	}
}

func (s *Scheduler) route(k spool.Key) *route {
	k.Stream = ""
	r := s.routes[k]
	if r == nil {
		if len(s.routes) > maxIdleRoute {
			s.forget()
		}
		r = &route{key: k, limit: min(slowStart, max(1, s.cfg.RouteLimit(k)))}
		for _, local := range s.cfg.Local {
			r.local = r.local || k.Route == local
		}
		s.routes[k] = r
	}
	return r
}

// forget drops the routes that nothing is known of, or that have rested and
// were not tried for a while.
func (s *Scheduler) forget() {
	now := time.Now()
	for k, r := range s.routes {
		rested := r.failures < coolAfter || now.Sub(r.until) > coolMax
		if r.active == 0 && len(r.waiting) == 0 && rested {
			delete(s.routes, k)
		}
	}
}

// begin starts an attempt, or returns whose bound keeps it from that.
func (s *Scheduler) begin(work context.Context, l *spool.Lease, r *route, now time.Time) *group {
	owner := s.ownersOf(l, r)
	if by := s.keptBy(r, owner, now); by != nil {
		s.release(owner)
		return by
	}
	u := s.spareRuns.get()
	*u = run{route: r, owners: owner, troubled: r.failures > 0}
	s.active++
	r.begin(now)
	s.count(u, now)
	s.hold(l)
	s.run(work, l, u)
	return nil
}

func (s *Scheduler) run(work context.Context, l *spool.Lease, u *run) {
	go func() {
		f := finished{lease: l, run: u, health: Unreachable}
		defer func() {
			if p := recover(); p != nil {
				s.cfg.Logger.Error(
					"delivery panicked", "queue_id", l.Message.ID.String(), "panic", p,
				)
			}
			s.done <- f
		}()
		f.health = s.cfg.Deliver(work, l)
	}()
}

func (s *Scheduler) finish(f finished) {
	s.letGo(f.lease)
	if f.run == nil {
		s.sweep.active--
		if f.untried {
			s.sweep.tries.end(time.Now())
			if s.sweep.over > 0 {
				s.sweep.next = time.Time{} // others wait for the place
			}
		}
		return
	}
	now := time.Now()
	r := f.run.route
	s.active--
	r.end(now)
	s.end(f.run, now)
	s.spareRuns.put(f.run)
	r.reached = f.health == Reached
	if r.reached {
		r.failures, r.until = 0, time.Time{}
		r.limit = min(r.limit+1, max(1, s.cfg.RouteLimit(r.key)))
		return
	}
	r.failures++
	if r.failures >= coolAfter {
		rest := coolMax
		if n := r.failures - coolAfter; n < 6 {
			rest = min(coolMax, coolFirst<<n)
		}
		r.until = now.Add(rest)
		r.limit = 1
	}
}

// giveBack returns what was leased and never begun: the store hands it out
// again from then on.
func (s *Scheduler) giveBack(l *spool.Lease, until time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), storeWait)
	defer cancel()
	held := []spool.Held{{ID: l.Delivery.ID, Token: l.Token}}
	if err := s.cfg.Store.Return(ctx, time.Until(until), held); err != nil {
		s.cfg.Logger.Warn("delivery not given back", "queue_id", l.Message.ID.String(), "err", err)
	}
}
