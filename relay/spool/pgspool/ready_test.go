package pgspool

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// TestReadyFindsAll has a table of rows that nodes write, lock, lease and
// leave, and a ready that is told of them as by the watcher. What can be handed
// out is, within a time that depends on how late it became visible.
func TestReadyFindsAll(t *testing.T) {
	for _, most := range []int{maxKeys, 6} {
		for range 8 {
			seed := rand.Uint64()
			t.Run(fmt.Sprintf("%d keys, seed %d", most, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newReadyWorld(t, seed)
					w.ready.most = most
					w.run(4 * time.Minute)
				})
			})
		}
	}
}

// TestReadyAtFloor has a row become visible whose time is the floor itself.
func TestReadyAtFloor(t *testing.T) {
	r, now, key := newReady(), time.Now().Truncate(time.Microsecond), spool.Key{Route: "a"}
	r.tick(now, now)
	r.add(dueKey{key, now.Add(-time.Second)})
	list := r.pick(wanted{}, 1, make(map[*readyKey]bool))
	r.learn(list, now)
	at := now.Add(-late)
	r.add(dueKey{key, at})
	list = r.pick(wanted{}, 1, make(map[*readyKey]bool))
	if len(list) != 1 || !list[0].floor.Before(at) {
		t.Fatalf("%+v: a row at %v is passed over", list, at)
	}
}

// worldRow is a row of delivery.
type worldRow struct {
	key     spool.Key
	at, due time.Time
	leased  bool
	ours    bool      // leased by us
	visible time.Time // when its transaction commits
	news    int       // who tells of it then
	written time.Time // at most what its transaction took for now
	locked  time.Time // until then by somebody else
	free    time.Time // since when it can be handed out; zero: it cannot
	done    bool
	slow    bool // only the scan finds it
}

const (
	newsOurs  = iota + 1 // we have written it
	newsTold             // another node has, and tells
	newsNever            // another node has, and its notification is lost
)

// readyWorld is a table, and what the watcher of a node does about it.
type readyWorld struct {
	t          *testing.T
	rand       *rand.Rand
	rows       []*worldRow
	quiet      int // a row is written in one of so many rounds
	ready      *ready
	watch      watcher
	tickAt     time.Time
	scanAt     time.Time
	handed     int
	slow, fast time.Duration // the longest waits
}

func newReadyWorld(t *testing.T, seed uint64) *readyWorld {
	return &readyWorld{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), quiet: 2 + int(seed%60),
		ready: newReady(), watch: newWatcher(),
	}
}

// now is the server's clock.
func (w *readyWorld) now() time.Time {
	return time.Now().Round(0).Add(time.Hour).Truncate(time.Microsecond)
}

func (w *readyWorld) upTo(d time.Duration) time.Duration {
	return time.Duration(w.rand.Int64N(int64(d) + 1)).Truncate(time.Microsecond)
}

func (w *readyWorld) odds(n int) bool { return w.rand.IntN(n) == 0 }

func (w *readyWorld) run(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(w.upTo(50 * time.Millisecond))
		if w.odds(w.quiet) {
			w.write()
		}
		w.others()
		w.rows = slices.DeleteFunc(w.rows, func(r *worldRow) bool { return r.done })
		w.become()
		w.watchOn()
		if w.odds(2) {
			w.lease()
		}
		w.check()
	}
	if w.handed < 20 {
		w.t.Errorf("only %d rows were handed out", w.handed)
	}
	w.t.Logf("%d rows, the longest waits %v, and %v for the scan", w.handed, w.fast, w.slow)
}

// write begins a transaction that writes a row.
func (w *readyWorld) write() {
	now := w.now()
	r := &worldRow{key: w.key(), due: now, written: now, visible: now, news: 1 + w.rand.IntN(3)}
	switch w.rand.IntN(3) {
	case 0:
		r.due = now.Add(w.upTo(20 * time.Second))
	case 1:
		r.due = now.Add(-w.upTo(time.Hour))
	}
	r.at = later(r.due, now)
	switch w.rand.IntN(4) {
	case 0:
		r.visible = now.Add(w.upTo(late - tickEvery/2))
	case 1:
		r.visible = now.Add(w.upTo(10 * time.Second))
	}
	w.rows = append(w.rows, r)
}

func (w *readyWorld) key() spool.Key {
	return spool.Key{
		Route: fmt.Sprint("r", w.rand.IntN(3)), Stream: fmt.Sprint("s", w.rand.IntN(4)),
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// become has transactions commit, and tells of them.
func (w *readyWorld) become() {
	now := w.now()
	for _, r := range w.rows {
		if r.news == 0 || r.visible.After(now) {
			continue
		}
		r.visible = now
		switch r.news {
		case newsOurs:
			w.ready.add(dueKey{r.key, r.at})
		case newsTold:
			w.watch.lookFrom(r.written)
			w.tickAt = now.Add(min(w.tickAt.Sub(now), notifyEvery))
		case newsNever:
			r.slow = now.Sub(r.at) > late-tickEvery/2
		}
		r.news = 0
	}
}

// others has leases end or deliveries settled, and other nodes lock or lease
// rows.
func (w *readyWorld) others() {
	now := w.now()
	for _, r := range w.rows {
		switch {
		case r.news != 0 || !w.odds(40):
		case r.leased && r.ours:
			w.settle(r)
		case r.leased || r.locked.After(now):
		case w.odds(2):
			r.locked = now.Add(w.upTo(3 * time.Second))
		case w.odds(2):
			r.leased, r.at = true, now.Add(w.upTo(5*time.Second))
			r.slow = r.slow || r.due.After(r.at) // taken, whatever its time
		}
	}
}

func (w *readyWorld) settle(r *worldRow) {
	now := w.now()
	switch w.rand.IntN(4) {
	case 0: // its lease ends by itself
		r.ours = false
	case 1: // it is due again, maybe elsewhere
		r.leased, r.ours, r.slow = false, false, false
		r.due = now.Add(w.upTo(20 * time.Second))
		r.at, r.written, r.visible = r.due, now, now.Add(w.upTo(3*time.Second))
		if r.news = newsOurs; w.odds(2) {
			r.key = w.key()
		}
	default:
		r.done = true
	}
}

// watchOn ticks and scans.
func (w *readyWorld) watchOn() {
	now := w.now()
	if !now.Before(w.tickAt) {
		w.tickAt = now.Add(tickEvery)
		w.ready.tick(now, now)
		from := w.watch.from(now).Add(-late)
		w.ready.add(w.first(func(r *worldRow) bool {
			return r.at.After(from) && !r.at.After(now)
		})...)
		w.watch.seen = now
	}
	if !now.Before(w.scanAt) {
		w.scanAt = now.Add(scanEvery)
		w.ready.add(w.first(func(*worldRow) bool { return true })...)
	}
}

// first is when the first rows of keys are due.
func (w *readyWorld) first(f func(*worldRow) bool) (list []dueKey) {
	for _, r := range w.rows {
		if r.news != 0 || !f(r) {
			continue
		}
		i := slices.IndexFunc(list, func(d dueKey) bool { return d.key == r.key })
		if i < 0 {
			list = append(list, dueKey{r.key, r.at})
		} else {
			list[i].at = earlier(list[i].at, r.at)
		}
	}
	return list
}

// can reports whether a row can be handed out.
func (r *worldRow) can(now time.Time) bool {
	return r.news == 0 && !r.at.After(now) && !r.due.After(now) && !r.locked.After(now)
}

// lease asks for rows, as Store.Lease does.
func (w *readyWorld) lease() {
	var q spool.LeaseRequest
	if w.odds(3) {
		q.Busy = []spool.Key{w.key(), {Route: w.key().Route}}
	}
	list := w.ready.pick(wantedOf(&q), 1+w.rand.IntN(8), make(map[*readyKey]bool))
	now, each := w.now(), 1+w.rand.IntN(3)
	for _, a := range list {
		w.ask(a, now, each)
	}
	if w.odds(w.quiet) { // meanwhile
		w.write()
		w.become()
	}
	if !w.odds(20) { // or the answer is lost
		w.ready.learn(list, now)
	}
	w.ready.wait(wantedOf(&q))
}

// ask is leaseText and nextText for a key.
func (w *readyWorld) ask(a *asked, now time.Time, each int) {
	for _, r := range w.rows {
		if a.got == each || r.key != a.key || !r.at.After(a.floor) || !r.can(now) {
			continue
		}
		a.got++
		r.leased, r.ours, r.at = true, true, now.Add(time.Second+w.upTo(4*time.Second))
		r.slow = false
		w.handed++
	}
	a.all = a.got < each
	for _, r := range w.rows {
		if r.news != 0 || r.key != a.key || !r.at.After(a.floor) ||
			r.leased && (r.at.After(now) || r.due.After(now)) {
			continue
		}
		if a.next.IsZero() || r.at.Before(a.next) {
			a.next = r.at
		}
	}
}

// check fails if something could have been handed out for too long.
func (w *readyWorld) check() {
	now := w.now()
	for _, r := range w.rows {
		if !r.can(now) {
			r.free = time.Time{}
			continue
		}
		if r.free.IsZero() {
			r.free = now
		}
		most, limit := &w.fast, 4*time.Second // mostly one, for want of a request
		switch {
		case w.ready.most < maxKeys: // a scan may find no room for what is due later
			most, limit = &w.slow, 2*scanEvery+5*time.Second
		case r.slow:
			most, limit = &w.slow, scanEvery+5*time.Second
		}
		*most = max(*most, now.Sub(r.free))
		if now.Sub(r.free) > limit {
			w.t.Fatalf("can be handed out since %v: %+v", now.Sub(r.free), *r)
		}
	}
}

// What is told of rows again and again does not make them more, once they were
// handed out: only what came since waits.
func TestRowsToldOfTwiceWaitOnce(t *testing.T) {
	r, key := newReady(), spool.Key{Route: "mx/out", Domain: "example.org"}
	due := dueKey{key: key, at: time.Now().Add(-time.Millisecond)}
	r.add(due, due, due, due, due) // three, and two of them again
	list := r.pick(wanted{}, 1, make(map[*readyKey]bool))
	r.add(due) // while they are leased
	list[0].got, list[0].all = 3, true
	r.learn(list, time.Now())
	if n := r.waiting(digest(key)); n != 1 {
		t.Errorf("%d wait, want the one that came since", n)
	}
}
