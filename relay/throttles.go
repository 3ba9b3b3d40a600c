package relay

import (
	"fmt"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/attempt"
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/internal/throttle"
	"github.com/postern-mail/postern/relay/spool"
)

// Throttle is what the relay does by itself because of a class of refusals: see
// Throttling in the overview.
type Throttle struct {
	// ID is what LiftThrottle takes, and the events carry.
	ID string
	// Class is that of the refusals: bounce.RateLimited, bounce.Reputation or
	// bounce.Authentication.
	Class bounce.Class
	// Site is what it is for, as in the type Site; empty for all. Source is the
	// local address that connections to it are made from; empty for the
	// system's choice.
	Site, Source string
	// Stream and Sender, the domain of the reverse-path, are whose mail it
	// holds back. The null sender is "<>". Stream counts for
	// bounce.Authentication only; an empty Sender is all.
	Stream, Sender string
	// Share is what is left of the rate and the connections: 0.5 is half. It is
	// 0 if the mail rests.
	Share float64
	// Begun is when it began, and Until when it ends. A rest ends later: when
	// the host takes the first delivery after Until. Both are to the second.
	Begun, Until time.Time
	// Times counts how often it began, was renewed or halved again.
	Times int
	// Code, Enhanced, Text and Host are the refusal that began or renewed it.
	Code                 int
	Enhanced, Text, Host string
}

// Throttles returns what the relay does by itself now because destinations
// refuse, the oldest first: at most 1024. It is empty with KeepGoing of
// [delivery.Shaping].
func (r *Relay) Throttles() []Throttle {
	if r.keepsGoing() {
		return nil
	}
	kept := r.throttles.List()
	list := make([]Throttle, len(kept))
	for i := range kept {
		list[i] = r.throttleOf(&kept[i])
	}
	return list
}

// LiftThrottle ends a throttle by its ID: what it has held back may go at once.
// What was refused itself waits for its next attempt, which [Relay.Reschedule]
// makes sooner. The relay forgets the refusals that led to the throttle;
// further ones may begin another. If there is none of that ID, the error is
// [ErrNotFound].
func (r *Relay) LiftThrottle(id string) error {
	t := r.throttles.Lift(id)
	if t == nil {
		return fmt.Errorf("%w: throttle %q", ErrNotFound, cut(id))
	}
	if to := r.snap.Load().cfg.Events; to != nil {
		e := event.Event{Kind: event.Lifted, Time: r.now()}
		r.describeIn(&e, t)
		e.Next = time.Time{}
		e.Identify()
		r.events.publish(to, e)
	}
	r.sched.Wake()
	return nil
}

// throttled tells the scheduler what the relay does by itself.
type throttled struct{ r *Relay }

func (t throttled) Until(l *spool.Lease, s sched.Site) time.Time {
	if t.r.keepsGoing() {
		return time.Time{}
	}
	expires := time.Now().Add(l.Delivery.Expires.Sub(t.r.now()))
	h := t.r.throttles.Hold(placeOf(l, s), l.Delivery.ID, expires)
	if !h.Refused.IsZero() {
		t.r.attempts.Refused(l.Delivery.ID, h.Refused)
	}
	return h.Until
}

func (t throttled) Slower(s sched.Site) float64 {
	if t.r.keepsGoing() {
		return 1
	}
	return t.r.throttles.Slower(s.Name, s.Source)
}

// keepsGoing tells that the relay does nothing by itself.
func (r *Relay) keepsGoing() bool { return r.snap.Load().cfg.Shaping.KeepGoing }

// learn takes in what an attempt has taught, and tells in an event what the
// relay does because of it.
func (r *Relay) learn(l *spool.Lease, lesson *attempt.Lesson, e *event.Event) bool {
	site := r.siteOf(l.Delivery.Key)
	if lesson.Failure != nil {
		r.failures.note(site, lesson.Class, lesson.Failure, r.now())
	}
	if !r.snap.Load().routes.Remote(l.Delivery.Key) || r.keepsGoing() {
		return false
	}
	taught := throttle.Lesson{
		Place: placeOf(l, site), Provider: site.Provider, Delivery: l.Delivery.ID,
		Taken: lesson.Taken,
		Class: lesson.Refused(),
	}
	if f := lesson.Failure; taught.Class != "" {
		taught.Early = isEarly(f.Op, lesson.Class)
		taught.Cause = throttle.Cause{
			Host: f.Host, Code: f.Reply.Code, Enhanced: f.Reply.Enhanced, Text: f.Reply.Text,
		}
	}
	t := r.throttles.Learn(&taught)
	if t == nil {
		return false
	}
	r.describeIn(e, t)
	return true
}

// isEarly tells whether a connection was refused, whatever its mail. How many
// messages are too many is told at MAIL too.
func isEarly(at delivery.Op, c bounce.Class) bool {
	switch at {
	case delivery.OpGreeting, delivery.OpEHLO, delivery.OpSTARTTLS, delivery.OpAuth:
		return true
	case delivery.OpMail:
		return c == bounce.RateLimited
	}
	return false
}

// describeIn puts a throttle into an event.
func (r *Relay) describeIn(e *event.Event, t *throttle.Throttle) {
	e.Throttle, e.Site, e.Class, e.Stream = t.ID, t.Site, t.Class, t.Stream
	e.Attempt = t.Times
	e.Host, e.Code, e.Enhanced, e.Text = t.Cause.Host, t.Cause.Code, t.Cause.Enhanced, t.Cause.Text
	e.Next = r.wall(t.Until)
}

// wall is a time of the steady clock by the wall clock.
func (r *Relay) wall(t time.Time) time.Time {
	return r.now().Add(time.Until(t)).Round(time.Second)
}

func (r *Relay) throttleOf(t *throttle.Throttle) Throttle {
	return Throttle{
		ID: t.ID, Class: t.Class, Site: t.Site, Source: t.Source, Stream: t.Stream,
		Sender: t.Sender, Share: t.Share, Begun: r.wall(t.Begun), Until: r.wall(t.Until),
		Times: t.Times, Code: t.Cause.Code, Enhanced: t.Cause.Enhanced, Text: t.Cause.Text,
		Host: t.Cause.Host,
	}
}

// placeOf is where a delivery goes to, and whose it is.
func placeOf(l *spool.Lease, s sched.Site) throttle.Place {
	return throttle.Place{
		Site: s.Name, Source: s.Source, Stream: l.Delivery.Key.Stream,
		Sender: senderDomain(l.Message.From),
	}
}

// senderDomain is the domain of a reverse-path, in lower case.
func senderDomain(from string) string {
	i := strings.LastIndexByte(from, '@')
	if i < 0 {
		return throttle.NullSender
	}
	return strings.ToLower(from[i+1:])
}
