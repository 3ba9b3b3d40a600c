package relay

import (
	"context"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
)

const (
	maxSites     = 100             // that are described
	describeWait = 5 * time.Second // for the scheduler, which may wait for the store
)

// Description is how mail leaves now.
type Description struct {
	// Sites are where mail goes to now, or went of late: at most 100, those
	// with most under way first. MoreSites counts the others.
	Sites     []Site
	MoreSites int
	// Throttles are those of Relay.Throttles.
	Throttles []Throttle
}

// Site is where mail goes to: the mail exchangers of one or more domains, or
// what a send connector leads to.
type Site struct {
	// Name is made of the names of the mail exchangers; until those of a domain
	// are known it is the domain. Others are "send/" with the name of a send
	// connector that has Hosts or a Transport, "mailbox" and "transport".
	Name string
	// Provider operates it: a name of Shaping.Providers. Empty if none of them
	// does.
	Provider string
	// Source is the local address that connections are made from. Empty is the
	// system's choice.
	Source string
	// UnderWay counts the attempts that go on, and Limit how many may now.
	// Waiting counts the deliveries that were taken from the queue for it, and
	// wait for their turn.
	UnderWay, Limit, Waiting int
	// Connections are those open, idle ones included.
	Connections int
	// RestsUntil is when the next attempt is made, after several in a row have
	// reached no host or because of a throttle for all its mail; zero if it
	// does not rest.
	RestsUntil time.Time
	// Share is what a throttle leaves of the rate and the connections: 1 is all
	// of it.
	Share float64
	// Failure is the last one; nil if none is known.
	Failure *Failure
}

// Describe tells how mail leaves now: what goes on at each site, what rests or
// is slower and why. It asks no store, and waits for five seconds at most:
// then there are no Sites. That is so too while the relay does not deliver.
func (r *Relay) Describe(ctx context.Context) Description {
	if ctx == nil { // there is no error to answer
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, describeWait)
	defer cancel()
	states, more := r.sched.Sites(ctx, maxSites)
	d := Description{MoreSites: more, Throttles: r.Throttles()}
	places := make(map[sched.Site]int, len(states))
	for i := range states {
		// What is known of exchangers may have changed since the scheduler
		// looked: several of its sites may be one by now.
		where := r.siteOf(states[i].Keys[0])
		at, known := places[where]
		if !known {
			at = len(d.Sites)
			places[where], d.Sites = at, append(d.Sites, r.describe(where))
		}
		d.Sites[at].add(&states[i])
		d.Sites[at].Connections += r.snap.Load().routes.Connections(states[i].Keys)
	}
	for i := range d.Sites {
		if at := &d.Sites[i].RestsUntil; !at.IsZero() {
			*at = r.wall(*at)
		}
	}
	return d
}

// describe shows what is known of a site beside the scheduler.
func (r *Relay) describe(s sched.Site) Site {
	shown := Site{
		Name: s.Name, Provider: s.Provider, Source: s.Source, Share: 1, Failure: r.failures.of(s),
	}
	if !r.keepsGoing() {
		shown.Share = r.throttles.Slower(s.Name, s.Source)
		shown.rest(r.throttles.Rest(s.Name, s.Source))
	}
	return shown
}

// add shows what the scheduler knows.
func (s *Site) add(of *sched.State) {
	s.UnderWay += of.UnderWay
	s.Limit += of.Limit
	s.Waiting += of.Waiting
	s.rest(of.Until)
}

// rest shows until when a site rests, if it still does.
func (s *Site) rest(until time.Time) {
	if until.After(time.Now()) && until.After(s.RestsUntil) {
		s.RestsUntil = until
	}
}
