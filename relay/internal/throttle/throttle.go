package throttle

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/spool"
)

const maxThrottles = 1024

// Lesson is what an attempt has taught.
type Lesson struct {
	Place
	// Provider operates the site; empty if nobody is known to.
	Provider string
	Delivery spool.DeliveryID
	// Taken tells that somebody's copy was taken. Then the rest does not
	// matter.
	Taken bool
	// Class is that of the refusal; empty if no remote host has refused.
	Class bounce.Class
	// Early tells that the connection was refused, whatever the mail.
	Early bool
	Cause Cause
}

// Cause is what a remote host has replied.
type Cause struct {
	Host, Enhanced, Text string
	Code                 int
}

// Throttle is what the relay does about a class of refusals.
type Throttle struct {
	ID    string
	Class bounce.Class
	// Place is what it is for. An empty Stream or Sender stands for all unless
	// the class asks for one, and so does an empty Site.
	Place
	// Share is what is left of the rate and the connections; 0 for a rest.
	Share float64
	// Begun is when it began, Until when it ends; past that one delivery tries.
	// Both are of the steady clock.
	Begun, Until time.Time
	// Times counts how often it began, was renewed or halved.
	Times int
	// Cause is the refusal that began or renewed it.
	Cause Cause
}

// Throttles are those of a relay. The zero value is not ready; its methods may
// be called from many goroutines at once.
type Throttles struct {
	log *slog.Logger
	// How many throttles there are, and those and counts: nothing is locked
	// while there are none.
	acting, known atomic.Int64

	mu     sync.Mutex
	live   map[scope]*state
	counts map[scope]count
	ended  []ended // which the log is to be told of
}

// ended is a throttle that has ended, and why.
type ended struct {
	*Throttle
	why string
}

// New returns no throttles yet.
func New(log *slog.Logger) *Throttles {
	return &Throttles{log: log, live: make(map[scope]*state), counts: make(map[scope]count)}
}

// Learn takes in what an attempt has taught. It returns the throttle that has
// begun, was renewed or halved because of it; nil for none.
func (t *Throttles) Learn(l *Lesson) *Throttle {
	_, acts := l.narrow(l.Class)
	acts = acts && !l.Taken
	if !acts && t.known.Load() == 0 {
		return nil
	}
	begun := t.learn(l, acts)
	if begun != nil {
		t.tellBegun(begun)
	}
	return begun
}

func (t *Throttles) learn(l *Lesson, acts bool) *Throttle {
	t.mu.Lock()
	defer t.unlock()
	now := time.Now()
	switch {
	case l.Taken:
		t.taken(l, now)
	case !acts:
		t.neither(l)
	default:
		if s := t.refused(l, now); s != nil {
			s.cause = l.Cause
			return s.show(now)
		}
	}
	return nil
}

// unlock ends a change, and then tells the log of it: whoever waits for the
// lock does not wait for that.
func (t *Throttles) unlock() {
	t.acting.Store(int64(len(t.live)))
	t.known.Store(int64(len(t.live) + len(t.counts)))
	list := t.ended
	t.ended = nil
	t.mu.Unlock()
	for i := range list {
		t.tellEnded(&list[i])
	}
}

// refused takes in a refusal and returns the throttle that it changes.
func (t *Throttles) refused(l *Lesson, now time.Time) *state {
	narrow, _ := l.narrow(l.Class)
	all, part, isPart := narrow.wide()
	if l.Class == bounce.Authentication {
		// Sites are cheap: whoever owns a domain can have as many as he likes.
		part, isPart = l.Provider, l.Provider != ""
	}
	for _, s := range []scope{all, narrow} {
		if rest := t.at(s, now); rest != nil && rest.slower == 0 {
			return rest.refused(now)
		}
	}
	r := refusal{message: l.Delivery.Message, part: part, at: now}
	// What a connection is refused for cannot be one sender's signature.
	r.early = l.Early && l.Class != bounce.Authentication
	if isPart && t.count(all, r).wideEnough() {
		return t.begin(all, now)
	}
	if isPart && r.early {
		return nil
	}
	if n := t.count(narrow, r); len(n) < enough && !r.early {
		return nil
	}
	if slow := t.at(narrow, now); slow != nil {
		delete(t.counts, narrow)
		return slow.refused(now)
	}
	return t.begin(narrow, now)
}

// refused takes in another refusal; nil if that changes nothing.
func (s *state) refused(now time.Time) *state {
	if s.again(now) {
		return s
	}
	return nil
}

// taken takes a refusal back, and ends what was tried.
func (t *Throttles) taken(l *Lesson, now time.Time) {
	slow, _ := l.narrow(bounce.RateLimited)
	t.takeBack(slow)
	for _, s := range l.rests() {
		t.takeBack(s)
		if rest := t.at(s, now); rest != nil && !now.Before(rest.until) {
			t.end(rest, "a delivery was taken")
		}
	}
}

// neither is of an attempt that says nothing of throttles: the next one tries.
func (t *Throttles) neither(l *Lesson) {
	for _, s := range l.rests() {
		if rest := t.live[s]; rest != nil {
			rest.tried(l.Delivery)
		}
	}
}

// count counts a refusal.
func (t *Throttles) count(s scope, r refusal) count {
	if _, known := t.counts[s]; !known && len(t.counts) >= maxCounts {
		t.forgetCount()
	}
	t.counts[s] = t.counts[s].add(r)
	return t.counts[s]
}

// takeBack takes the oldest refusal back.
func (t *Throttles) takeBack(s scope) {
	if c, known := t.counts[s]; known && len(c) > 1 {
		t.counts[s] = c[1:]
	} else if known {
		delete(t.counts, s)
	}
}

// forgetCount drops the count whose last refusal is the oldest.
func (t *Throttles) forgetCount() {
	var oldest scope
	var at time.Time
	for s, c := range t.counts {
		if last := c.last(); at.IsZero() || last.Before(at) {
			oldest, at = s, last
		}
	}
	delete(t.counts, oldest)
}

// at is the throttle for a scope, nil if there is none any more.
func (t *Throttles) at(s scope, now time.Time) *state {
	st := t.live[s]
	if st != nil && st.over(now) {
		t.end(st, "its time is over")
		return nil
	}
	return st
}

func (t *Throttles) begin(s scope, now time.Time) *state {
	delete(t.counts, s)
	if len(t.live) >= maxThrottles {
		t.makeRoom(now)
	}
	st := &state{scope: s}
	st.begin(now)
	st.id = idOf(st)
	t.live[s] = st
	return st
}

// makeRoom drops the throttle that ends first.
func (t *Throttles) makeRoom(now time.Time) {
	var first *state
	for _, st := range t.live {
		if first == nil || st.ends().Before(first.ends()) {
			first = st
		}
	}
	if first.over(now) {
		t.end(first, "its time is over")
	} else {
		t.end(first, "there are too many")
	}
}

func (t *Throttles) end(st *state, why string) {
	delete(t.live, st.scope)
	t.ended = append(t.ended, ended{st.show(time.Now()), why})
}
