package sched

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/relay/internal/callback"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

// Scheduler hands deliveries to workers.
type Scheduler struct {
	desk
	cfg       Config
	wake      chan struct{}
	limit     atomic.Bool // RouteLimit has changed
	done      chan finished
	leases    *leases
	back      returns
	places    places
	sites     sites
	others    elsewhere
	asked     time.Time // when the store was last asked
	expecting expecting
	lanes     lanes     // deliveries waiting
	ahead     []*site   // those that they wait for
	dry       []*site   // those that were passed over and can take more
	dryFor    time.Time // since when
	gone      []*site   // scratch for startWaiting
	sweep     sweep
	// resting are deliveries that throttles keep back.
	resting resting
	pace    pace
	failed  bool        // the store, when last asked
	busy    []spool.Key // scratch for LeaseRequest
	not     []string    // the same
}

// finished is a step of a delivery: an attempt leaves its site and then is
// settled.
type finished struct {
	lease   *spool.Lease // of what is settled; nil for what has left
	run     *run         // nil for a conclusion
	untried bool         // a conclusion with an attempt
	void    bool         // it was not begun, or ended with its lease
	lesson  Lesson
}

// New returns a scheduler that does nothing yet.
func New(cfg Config) *Scheduler {
	cfg.fillIn()
	b := boundsOf(cfg.Concurrency)
	s := &Scheduler{
		cfg:    cfg,
		wake:   make(chan struct{}, 1),
		done:   make(chan finished, 2*cfg.Concurrency+b.conclusions),
		desk:   desk{asks: make(chan question)},
		leases: newLeases(cfg.Store, cfg.LeaseTime, cfg.Logger),
		places: placesOf(b),
		others: make(elsewhere),
		pace:   paceOf(b.open),
	}
	s.sites = sitesOf(&s.cfg)
	s.expecting = expectingOf(cfg.Store)
	return s
}

// Wake tells that deliveries may have become due, or will be within seconds. It
// never blocks.
func (s *Scheduler) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Limit tells that the limits of routes have changed. Attempts under way go on.
func (s *Scheduler) Limit() {
	s.limit.Store(true)
	s.Wake()
}

// Unsettled tells that the store did not take the settlement of a delivery
// under way. Its lease is kept while it is to rest, so that what may have been
// delivered does not go out again and again.
func (s *Scheduler) Unsettled(id spool.DeliveryID, rest time.Duration) { s.leases.park(id, rest) }

// Run delivers until ctx ends, then waits for the deliveries under way, which
// see work end. What was leased and not begun is given back.
func (s *Scheduler) Run(ctx, work context.Context) {
	var external <-chan struct{}
	if w, ok := s.cfg.Store.(spool.Waker); ok {
		external = w.Wake()
	}
	defer s.keepLeases()()
	timer := time.NewTimer(0)
	defer timer.Stop()
	s.runs.Store(true)
	for ctx.Err() == nil {
		timer.Reset(s.step(ctx, work))
		select {
		case <-ctx.Done():
		case <-s.wake:
			s.pace.woken = true
		case <-external:
			s.pace.woken = true
		case <-timer.C:
		case q := <-s.asks:
			q.answer <- s.sites.states(q.most, time.Now())
		case f := <-s.done:
			s.finish(f)
			s.drainDone()
		}
	}
	s.runs.Store(false)
	s.expecting.nothing()
	s.windDown()
}

// keepLeases renews what is held, and ends what could not be renewed, until the
// function that it returns is called.
func (s *Scheduler) keepLeases() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var keeper sync.WaitGroup
	keeper.Go(func() { callback.Run(func() { s.leases.keep(ctx) }) })
	keeper.Go(func() { s.leases.watchOver(ctx) })
	return func() {
		cancel()
		keeper.Wait()
	}
}

// step does what can be done now and returns how long to wait.
func (s *Scheduler) step(ctx, work context.Context) time.Duration {
	if s.limit.Swap(false) {
		s.sites.relimit()
	}
	s.concludeWaiting(work)
	s.startWaiting(work)
	s.flush()
	now := time.Now()
	asks := s.pace.wait(now) <= 0
	if s.dryWait(now) <= 0 || asks && len(s.dry) > 0 {
		s.fillDry(ctx, work)
	}
	if asks && !s.failed || s.pace.wait(now) <= 0 {
		s.fill(ctx, work)
	}
	wait := idleWait
	if !s.failed {
		wait = s.sweepRoutes(ctx, work)
	}
	s.flush()
	now = time.Now()
	return min(wait, s.pace.wait(now), s.dryWait(now))
}

// windDown waits for what is under way and gives the rest back.
func (s *Scheduler) windDown() {
	for s.places.active+s.sweep.active > 0 {
		s.finish(<-s.done)
	}
	for _, l := range s.sweep.waiting {
		s.giveBack(l, 0)
	}
	s.sweep.waiting = nil
	for _, r := range s.ahead {
		for _, w := range s.lanes.clear(r) {
			s.giveBack(w.lease, 0)
		}
	}
	s.ahead = nil
	s.flush()
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

func (s *Scheduler) finish(f finished) {
	now := time.Now()
	switch {
	case f.lease == nil:
		s.leaveSite(f, now)
		return
	case f.run == nil:
		s.sweep.finish(f.untried, now)
	default:
		s.pace.finished++
		r := f.run.site
		s.places.end(f.run, now)
		s.noteDry(r, now)
	}
	s.leases.drop(f.lease.Delivery.ID)
}

// leaveSite ends an attempt at its site, and takes in what it has taught.
func (s *Scheduler) leaveSite(f finished, now time.Time) {
	r := f.run.site
	// Another site may take the place that it leaves.
	s.pace.woken = s.pace.woken || f.run.troubled || len(f.run.gates) > 0
	s.places.leave(f.run, now)
	if !f.void {
		r.learn(f.lesson, s.sites.roof(f.run.key), r.active, now)
	}
	s.noteDry(r, now)
}

// lease asks the store.
func (s *Scheduler) lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	var leased spool.Leased
	err := s.leases.fresh(ctx)
	if err == nil {
		r.TTL = s.leases.ttl
		s.asked = time.Now()
		leased, err = s.cfg.Store.Lease(ctx, r)
		s.pace.called(time.Since(s.asked))
	}
	if s.failed = err != nil; s.failed {
		s.expecting.nothing()
	}
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.Error("spool does not lease", logkey.Err, err)
	}
	return leased, err
}

// hold begins to hold what was leased, or puts it off if it is under way here
// already.
func (s *Scheduler) hold(l *spool.Lease) bool {
	ok, wait := s.leases.add(l, s.asked)
	if !ok {
		s.back.add(l, wait)
	}
	return ok
}

// giveBack returns what is held and was never begun: the store hands it out
// again after a while.
func (s *Scheduler) giveBack(l *spool.Lease, wait time.Duration) {
	s.leases.drop(l.Delivery.ID)
	s.back.add(l, wait)
}

// leave gives a delivery back that is for another process, and reports whether
// it is.
func (s *Scheduler) leave(l *spool.Lease, now time.Time) bool {
	if !s.cfg.Elsewhere(l.Delivery.Key) {
		return false
	}
	s.others.leave(l.Delivery.Key.Route, now)
	s.giveBack(l, 0)
	return true
}

func (s *Scheduler) flush() {
	wait, ok, err := s.back.flush(s.cfg.Store)
	if err != nil {
		s.cfg.Logger.Warn("deliveries not given back", logkey.Err, err)
	}
	if ok {
		s.pace.soon(wait + time.Millisecond)
	}
}

// attempt calls f with a context that ends with the lease, unless that has
// ended.
func (s *Scheduler) attempt(work context.Context, l *spool.Lease, f func(context.Context)) {
	if ctx, ok := s.leases.begin(work, l.Delivery.ID); ok {
		f(ctx)
	}
}
