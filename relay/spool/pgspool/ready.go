package pgspool

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	// maxKeys bounds the keys that a node remembers. Those that are due last
	// are forgotten first, until the scan finds them again.
	maxKeys = 200_000
	// late is how much later than others a row may become visible that says it
	// is due now; what comes later yet, the look without a bound finds.
	late      = 2 * time.Second
	unbounded = 30 * time.Second // between looks without a bound at a key
	// rows of a key that others have locked are asked for again after that
	lockedPause = 100 * time.Millisecond
)

// dueKey tells when a key has something to hand out, at the latest.
type dueKey struct {
	key spool.Key
	at  time.Time
}

// ready remembers which keys have something to hand out, and when. It may think
// so too early, but for what others have written since it was told last.
type ready struct {
	mu     sync.Mutex
	keys   map[int64]*readyKey
	due    readyHeap
	most   int           // keys, at most
	ahead  time.Duration // of the server's clock before ours
	ticked bool          // that has been learned
	told   time.Time     // until when Lease has said that nothing is due
	wake   chan struct{}
}

// never is when a key is due of which nothing is known.
var never = time.Unix(1<<40, 0)

type readyKey struct {
	key    spool.Key
	digest int64
	at     time.Time // when it is worth asking, by the server's clock
	floor  time.Time // nothing is due before that
	open   time.Time // when it was looked at without a bound
	noted  int       // how often it was noted
	behind int       // and how often for a time that had passed for long
	left   int       // rows that wait, as far as they were noted
	index  int
}

func newReady() *ready {
	return &ready{
		keys: make(map[int64]*readyKey), most: maxKeys, wake: make(chan struct{}, 1),
	}
}

// tick learns the server's clock, which was asked for at a time. What comes
// late is what it was before a wait, and is learned only where nothing is
// known.
func (r *ready) tick(server, asked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ticked || time.Since(asked) < late/2 {
		r.ahead, r.ticked = time.Until(server), true
	}
}

// now is the server's clock, about, for who has the lock.
func (r *ready) now() time.Time { return time.Now().Add(r.ahead) }

// add notes when keys have something to hand out.
func (r *ready) add(list ...dueKey) {
	if len(list) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range list {
		r.note(digest(list[i].key), list[i].key, list[i].at)
	}
}

func (r *ready) note(d int64, key spool.Key, at time.Time) {
	k := r.keys[d]
	switch {
	case k == nil:
		if len(r.keys) >= r.most && !r.forgetLater(at) {
			return
		}
		k = &readyKey{key: key, digest: d, at: at}
		r.keys[d] = k
		heap.Push(&r.due, k)
	case at.Before(k.at):
		k.at = at
		heap.Fix(&r.due, k.index)
	}
	if !at.After(k.floor) { // it was written late
		k.floor = at.Add(-time.Microsecond)
	}
	k.noted++
	k.left++
	if at.Before(r.now().Add(-late / 2)) {
		k.behind++
	}
	if at.Before(r.told) {
		r.tell()
	}
}

// rouse tells that there is something to lease.
func (r *ready) rouse() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell()
}

// tell wakes those whom Lease has told that nothing is due, for who has the
// lock.
func (r *ready) tell() {
	if r.told.IsZero() {
		return
	}
	r.told = time.Time{}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// idle reports whether nothing of a key is known to wait.
func (r *ready) idle(d int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waits(d) == nil
}

// waiting is how many of a key wait, as far as is known.
func (r *ready) waiting(d int64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.waits(d); k != nil {
		return max(k.left, 1)
	}
	return 0
}

// waits is a key of which something waits, nil if nothing is known to, for who
// has the lock.
func (r *ready) waits(d int64) *readyKey {
	if k := r.keys[d]; k != nil && !k.at.After(r.now()) {
		return k
	}
	return nil
}

// forgetLater makes room for a key that is due at a time: a leaf of the heap
// goes that is due later.
func (r *ready) forgetLater(at time.Time) bool {
	last := r.due[len(r.due)-1]
	if !last.at.After(at) {
		return false
	}
	heap.Remove(&r.due, last.index)
	delete(r.keys, last.digest)
	return true
}

// keySet is a set of keys; one without a stream stands for all streams.
type keySet map[spool.Key]bool

func setOf(keys []spool.Key) keySet {
	set := make(keySet, len(keys))
	for _, k := range keys {
		set[k] = true
	}
	return set
}

func (s keySet) has(k spool.Key) bool {
	return len(s) > 0 && (s[k] || s[spool.Key{Route: k.Route, Domain: k.Domain}])
}

// wanted are the keys that a request wants.
type wanted struct {
	only, busy keySet
	not        []string // routes
	streams    []string // that are not
	later      keySet   // that are not now
}

func wantedOf(q *spool.LeaseRequest) wanted {
	return wanted{
		only: setOf(q.Only), busy: setOf(q.Busy), not: q.NotRoutes, streams: q.NotStreams,
	}
}

func (w wanted) has(k spool.Key) bool {
	return !w.later[k] && !w.busy.has(k) && (len(w.only) == 0 || w.only.has(k)) &&
		!slices.Contains(w.not, k.Route) && !slices.Contains(w.streams, k.Stream)
}

// asked is a key that the server is asked about.
type asked struct {
	*readyKey
	noted, behind int
	floor         time.Time // zero: without a bound
	got           int
	all           bool      // all that was due and not locked was handed out
	next          time.Time // when the next row is due; zero: there is none
}

// pick returns at most n keys that are wanted and due, the oldest first, but
// none of those that were picked before.
func (r *ready) pick(w wanted, n int, before map[*readyKey]bool) (list []*asked) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.told = time.Time{}
	r.walk(func(k *readyKey) bool {
		if k.at.After(now) || len(list) == n {
			return false
		}
		if !w.has(k.key) || before[k] {
			return true
		}
		a := &asked{readyKey: k, noted: k.noted, behind: k.behind}
		if now.Sub(k.open) < unbounded {
			a.floor = k.floor
		} else {
			k.open = now
		}
		before[k] = true
		list = append(list, a)
		return true
	})
	return list
}

// walk calls f for the keys in the order in which they are due, until it
// returns false.
func (r *ready) walk(f func(*readyKey) bool) {
	var passed []*readyKey
	for len(r.due) > 0 {
		if !f(r.due[0]) {
			break
		}
		passed = append(passed, heap.Pop(&r.due).(*readyKey))
	}
	for _, k := range passed {
		heap.Push(&r.due, k)
	}
}

// bound is where the next look at the key begins.
func (a *asked) bound(now time.Time) time.Time {
	if !a.next.IsZero() {
		now = earlier(a.next, now)
	}
	return now.Add(-late)
}

// learn takes in what the server has said. now is its clock.
func (r *ready) learn(list []*asked, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range list {
		k := a.readyKey
		if r.keys[k.digest] != k {
			continue
		}
		locked := a.all && !a.next.IsZero() && !a.next.After(now)
		if !locked && k.behind == a.behind {
			k.floor = a.bound(now)
		}
		if k.left = max(k.left-a.got, 0); a.all && !locked { // but for what came since
			k.left = k.noted - a.noted
		}
		switch {
		case k.noted != a.noted: // something has come meanwhile: ask again
			continue
		case locked:
			k.at = now.Add(lockedPause)
		case a.next.IsZero(): // it stays for its floor
			k.at = never
		default:
			k.at = a.next
		}
		heap.Fix(&r.due, k.index)
	}
}

// wait is how long it takes until a key that is wanted is due; negative if
// there is none.
func (r *ready) wait(w wanted) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, wait := r.now(), time.Duration(-1)
	r.told = now.AddDate(100, 0, 0)
	r.walk(func(k *readyKey) bool {
		if k.at.Equal(never) {
			return false
		}
		if !w.has(k.key) {
			return true
		}
		wait = max(k.at.Sub(now), 0)
		r.told = k.at
		return false
	})
	return wait
}

// readyHeap has the key on top that is due first.
type readyHeap []*readyKey

func (h readyHeap) Len() int           { return len(h) }
func (h readyHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h readyHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *readyHeap) Push(v any) {
	k := v.(*readyKey)
	k.index = len(*h)
	*h = append(*h, k)
}

func (h *readyHeap) Pop() any {
	n := len(*h) - 1
	k := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	return k
}
