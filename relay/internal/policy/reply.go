package policy

import (
	"context"
	"errors"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/spool"
)

// Reply is an error that says what goes on the wire. A code of 421 also closes
// the connection.
type Reply struct {
	Code     int
	Enhanced string // "5.7.1"
	Text     string // one line of printable ASCII; anything else is replaced
	Cause    error  // for the log; never on the wire
}

func (r *Reply) Error() string { return r.Text }
func (r *Reply) Unwrap() error { return r.Cause }

// Err is r as an error: nil if r is nil.
func (r *Reply) Err() error {
	if r == nil {
		return nil
	}
	return r
}

// Because gives r its cause.
func (r *Reply) Because(cause error) *Reply {
	r.Cause = cause
	return r
}

// Throttled reports whether a logon was refused unseen, because of those that
// failed before it.
func (r *Reply) Throttled() bool {
	_, ok := errors.AsType[*auth.ThrottledError](r.Cause)
	return ok
}

// MissingRight is the cause of a refusal that one more right would lift.
type MissingRight connector.Right

func (m MissingRight) Error() string { return "missing right " + connector.Right(m).String() }

// Missing gives r the cause that a right was missing.
func (r *Reply) Missing(right connector.Right) *Reply { return r.Because(MissingRight(right)) }

// ReplyTo is the one place where an error becomes a reply. An error of the
// application offers its own by the method As; whatever else is not a *Reply
// gets a constant text.
func ReplyTo(err error) *Reply {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[*Reply](err); ok {
		if r.Cause == nil && error(r) != err {
			own := *r
			return own.Because(err)
		}
		return r
	}
	switch {
	case errors.Is(err, ErrLeftAlone):
		return Unanswered.Because(err)
	case errors.Is(err, spool.ErrFull):
		return NoRoom.Because(err)
	case errors.Is(err, context.DeadlineExceeded):
		return TimedOut.Because(err)
	}
	return Internal.Because(err)
}
