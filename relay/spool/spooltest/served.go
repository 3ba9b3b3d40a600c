package spooltest

import (
	"slices"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// Served is a store of which the queue and the clock are in a process of their
// own, such as a database.
type Served struct {
	Store spool.Store
	// Other has the same place, opened a second time as another node does. It
	// has the same parts as Store. May be nil.
	Other spool.Store
	// Advance moves the clock of the place forward. Until then it is the wall
	// clock of the test.
	Advance func(d time.Duration)
	// Lag is how long a node may take, in real time, to see what became due,
	// and what another node did. Defaults to 10 seconds.
	Lag time.Duration

	now func() time.Time
}

// RunServed is [Run] for a Served. No bubble holds its clock, so Advance moves
// it, and real time passes beside: open is called for each test, and both
// stores are closed when it ends.
//
// With an Other, the calls of a test go to both nodes by turns. What a node
// acknowledged is known to the other at once by Open, Settle, Renew, Return, by
// the methods of Keys, Manager, Shared, Nodes, and by those of Log but
// Appended. Whose lease it is holds for both at all times.
//
// It differs from Run in this, and in nothing else:
//
//   - A Lease may leave out what it would have handed out, Stats may be behind,
//     and a Wake and what Appended returned may be late, for the Lag. What
//     Lease does hand out is in order, of the keys that are wanted, and nobody
//     else's, from the first call on. Where nothing may be handed out, the
//     nodes are asked for a quarter of a second.
//   - A Wait may be shorter, and Lease be asked in vain. With an Other it may
//     be whatever the node knows: a Wake tells when it was too long.
//     Run the suite without one, too.
//   - What was given back, or whose lease has ended, may stand behind others of
//     its key.
//   - Create may leave it to Commit to tell of an id that is in use.
//   - Content that is being read may be gone when its message has ended.
//   - Times are of microseconds, and what is not to be over yet ends 20 seconds
//     later.
//   - A lease outlives a node that is closed; it ends by its time.
func RunServed(t *testing.T, open func(t *testing.T) Served) {
	for _, c := range ofServed(t, servedCases(), open(t)) {
		t.Run(c.name, func(t *testing.T) { c.runServed(t, open(t)) })
	}
}

// RunServedDurable is [RunDurable] for a Served, as RunServed is Run. What
// reopen returns has the same place, and the same clock, each time; both nodes
// of it are closed first.
func RunServedDurable(t *testing.T, open func(t *testing.T) (reopen func() Served)) {
	for _, c := range ofServed(t, durableCases(), open(t)()) {
		t.Run(c.name, func(t *testing.T) { c.runServedDurable(t, open(t)) })
	}
}

// ofServed are the cases of what a served store has, which it closes.
func ofServed(t *testing.T, list []testCase, v Served) []testCase {
	t.Helper()
	if v.Other == nil {
		list = slices.DeleteFunc(list, func(c testCase) bool {
			return slices.Contains([]string{otherCloses, expectUnasked, expectCloses}, c.name)
		})
	}
	list = ofParts(v.Store, list)
	if err := v.both().Close(); err != nil {
		t.Fatal(err)
	}
	return list
}

// otherCloses is a case that takes two nodes.
const otherCloses = "OtherCloses"

func servedCases() []testCase {
	return slices.Concat(
		cases(), []testCase{{otherCloses, nil, (*suite).otherCloses}}, expectPairCases(),
	)
}

func (c *testCase) runServed(t *testing.T, v Served) {
	s := servedSuite(t, v)
	t.Cleanup(func() { s.Store.Close() })
	c.test(s)
}

func (c *testCase) runServedDurable(t *testing.T, opener func() Served) {
	v := opener()
	s := servedSuite(t, v)
	t.Cleanup(func() { s.Store.Close() })
	s.reopen = func() {
		t.Helper()
		s.ok(s.Store.Close())
		again := opener()
		s.Store = again.both()
		s.sleep(2 * time.Minute) // so that what the closed ones held is free
	}
	c.test(s)
}

// both is the store, or the two in one.
func (v *Served) both() spool.Store {
	if v.Other == nil {
		return v.Store
	}
	return &pair{nodes: [2]spool.Store{v.Store, v.Other}}
}

func servedSuite(t *testing.T, v Served) *suite {
	const usual = 10 * time.Second
	var shift time.Duration
	now := v.now
	if now == nil {
		now = func() time.Time { return time.Now().Add(shift) }
	}
	s := &suite{T: t, Store: v.both(), clock: clock{
		now: func() time.Time { return now().Truncate(time.Microsecond) },
		advance: func(d time.Duration) {
			v.Advance(d)
			shift += d
		},
		served: true, least: time.Microsecond, margin: 20 * time.Second,
		lag: v.Lag, patience: v.Lag, pause: 20 * time.Millisecond, quiet: 250 * time.Millisecond,
	}}
	if s.lag <= 0 {
		s.lag, s.patience = usual, usual
	}
	s.tick()
	return s
}

// otherCloses has one of two nodes end while the other goes on: what the one
// held is free at the end of its lease.
func (s *suite) otherCloses() {
	nodes := s.nodes()
	for i, ends := range nodes[1:] {
		s.commit(s.delivery("a", s.now), s.delivery("b", s.now))
		s.Store = ends
		old := s.leaseN(spool.LeaseRequest{}, 2)
		s.ok(ends.Close())
		s.Store = nodes[i]
		s.sleep(time.Minute)
		for _, l := range s.leaseN(spool.LeaseRequest{}, 2) {
			s.finish(l)
		}
		for _, l := range old {
			s.is(s.Settle(s.Context(), again(l)), spool.ErrLeaseLost)
		}
		s.commit(s.delivery("a", s.now))
		s.finish(s.one())
		s.wantStats(0, 0, 0)
	}
}
