package attempt

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// clockStep is how far the wall clock may part from the steady one between two
// looks before it counts as set: by hand, by NTP, or because the machine slept.
const clockStep = time.Minute

// triedFor is how long an attempt is remembered at least: twice as long as mail
// waits by default.
const triedFor = 4 * 24 * time.Hour

// tried remembers which waiting deliveries were attempted since the relay
// began, or the clock was last set. Only those expire without another attempt:
// what waited while nobody tried is no fault of its next hop. It keeps some 20
// bytes for each, up to 8 days: others that share the store may have ended it.
type tried struct {
	begun time.Time
	seed  maphash.Seed

	mu     sync.Mutex
	ids    map[uint64]struct{}
	old    map[uint64]struct{} // from before turned
	turned time.Duration       // since begun
	since  time.Duration       // since begun, when the clock was last set
	wall   time.Time           // at the last look
	steady time.Duration       // since begun, at the last look
}

func newTried(wall time.Time) *tried {
	return &tried{
		begun: time.Now(), wall: wall.Round(0),
		seed: maphash.MakeSeed(), ids: make(map[uint64]struct{}),
	}
}

// note says whether a delivery waits after an attempt, or has come to its end.
func (t *tried) note(id spool.DeliveryID, waits bool) {
	k := maphash.Comparable(t.seed, id)
	t.mu.Lock()
	defer t.mu.Unlock()
	if waits {
		t.ids[k] = struct{}{}
		return
	}
	delete(t.ids, k)
	delete(t.old, k)
}

// spokenFor notes a delivery that a refusal of others at a time speaks for.
func (t *tried) spokenFor(id spool.DeliveryID, at, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.look(now.Round(0), time.Since(t.begun)); at.Sub(t.begun) >= t.since {
		t.ids[maphash.Comparable(t.seed, id)] = struct{}{}
	}
}

// has reports whether a delivery was attempted, or is spoken for.
func (t *tried) has(id spool.DeliveryID, now time.Time) bool {
	k := maphash.Comparable(t.seed, id)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.look(now.Round(0), time.Since(t.begun))
	if _, ok := t.ids[k]; ok {
		return true
	}
	_, ok := t.old[k]
	return ok
}

// look forgets all when the wall clock was set, and what is old in any case.
// The caller holds the lock.
func (t *tried) look(wall time.Time, steady time.Duration) {
	step := wall.Sub(t.wall) - (steady - t.steady)
	if step.Abs() > clockStep {
		clear(t.ids)
		clear(t.old)
		t.since = steady
	}
	if steady-t.turned > triedFor {
		t.ids, t.old, t.turned = make(map[uint64]struct{}), t.ids, steady
	}
	t.wall, t.steady = wall, steady
}
