package throttle

import (
	"cmp"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/spool"
)

// Hold tells what keeps a delivery, whose time ends then by the steady clock,
// from beginning now. When a rest is over it lets one delivery begin, and asks
// the others to come again.
func (t *Throttles) Hold(p Place, id spool.DeliveryID, expires time.Time) (h Hold) {
	if t.acting.Load() == 0 {
		return h
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	scopes := p.rests()
	for _, s := range scopes {
		if st := t.live[s]; st != nil && !st.over(now) {
			st.hold(&h, st.wait(id, now), expires)
		}
	}
	if h.Until.IsZero() {
		for _, s := range scopes {
			if st := t.live[s]; st != nil {
				st.try(id, now)
			}
		}
	}
	return h
}

// Slower is the share of the rate and the connections that is left to a site
// and a source: above 0, and 1 for all.
func (t *Throttles) Slower(site, source string) float64 {
	if t.acting.Load() == 0 {
		return 1
	}
	s, _ := Place{Site: site, Source: source}.narrow(bounce.RateLimited)
	t.mu.Lock()
	defer t.unlock()
	now := time.Now()
	if st := t.at(s, now); st != nil {
		return float64(st.share(now)) / full
	}
	return 1
}

// Rest is until when all mail rests at a site from a source; zero if it does
// not.
func (t *Throttles) Rest(site, source string) time.Time {
	s, _ := Place{Site: site, Source: source}.narrow(bounce.Reputation)
	t.mu.Lock()
	defer t.unlock()
	if st := t.at(s, time.Now()); st != nil {
		return st.until
	}
	return time.Time{}
}

// List returns the throttles there are, those first that began first.
func (t *Throttles) List() []Throttle {
	t.mu.Lock()
	defer t.unlock()
	now := time.Now()
	list := make([]Throttle, 0, len(t.live))
	for s := range t.live {
		if st := t.at(s, now); st != nil {
			list = append(list, *st.show(now))
		}
	}
	slices.SortFunc(list, func(a, b Throttle) int {
		return cmp.Or(a.Begun.Compare(b.Begun), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// Lift ends a throttle, and forgets what has led to it. It returns what it was;
// nil if there is none with that id.
func (t *Throttles) Lift(id string) *Throttle {
	t.mu.Lock()
	defer t.unlock()
	now := time.Now()
	for s := range t.live {
		if st := t.at(s, now); st != nil && st.id == id {
			shown := st.show(now)
			t.end(st, "it was lifted")
			delete(t.counts, s)
			if all, _, ok := s.wide(); ok {
				delete(t.counts, all)
			}
			return shown
		}
	}
	return nil
}
