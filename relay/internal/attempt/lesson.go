package attempt

import (
	"slices"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// Lesson is what an attempt has taught about where it went.
type Lesson struct {
	// Reached tells whether the next hop could be talked to at all.
	Reached bool
	// Taken tells that some copy was taken.
	Taken bool
	// Failure is the one that matters most to the site, if there are several,
	// and Class is its class; nil and empty if all copies were taken.
	Failure *delivery.Error
	Class   bounce.Class
	// Remote tells that a remote host has said so to the relay's own client: it
	// is neither a local cause nor from a transport of the application's.
	Remote bool
}

// Refused is the class of a refusal by a remote host; empty if some copy was
// taken, or no remote host has refused.
func (l *Lesson) Refused() bounce.Class {
	if l.Taken || !l.Remote {
		return ""
	}
	return l.Class
}

// grave are the classes that are not about a recipient, the gravest first.
var grave = [...]bounce.Class{bounce.RateLimited, bounce.Reputation, bounce.Authentication}

// lessonOf reads what an attempt has taught. own tells that the failures are
// those of the relay's own client.
func lessonOf(failed []*failure, own bool) Lesson {
	l := Lesson{Reached: isReached(failed), Taken: anyTaken(failed)}
	for _, f := range failed {
		if f != nil && (l.Failure == nil || isGraver(f.class, l.Class)) {
			l.Failure, l.Class, l.Remote = f.Error, f.class, own && f.Reply.Code != 0
		}
	}
	return l
}

func isGraver(a, b bounce.Class) bool {
	i, j := slices.Index(grave[:], a), slices.Index(grave[:], b)
	return i >= 0 && (j < 0 || i < j)
}

// learn tells of what an attempt has taught, and puts what the relay does
// because of it into the step that settles the attempt.
func (s *settler) learn(o *outcome, lesson *Lesson) {
	// It is not about the message, and nobody is to take it for that.
	e := event.Event{Kind: event.Throttled, Time: o.about.Time}
	if s.Learn(o.lease, lesson, &e) {
		o.throttled = []event.Event{e}
	}
}

// Learn is what [Config] has to hear of each attempt. It returns true if the
// relay does something because of it, and completes the event of that.
type Learn func(l *spool.Lease, lesson *Lesson, e *event.Event) bool
