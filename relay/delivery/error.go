package delivery

import "strings"

// Error tells both sides of a failed delivery: what was done and by which host,
// what that host replied, and what went wrong here.
type Error struct {
	// Op is the step that failed. Defaults to OpOther.
	Op Op
	// Host is the remote host's name and address. Empty when none was reached.
	Host string
	// Reply is the remote reply as received. Without a Code, Text holds words
	// of this side that the sender may read, and Enhanced what this side makes
	// of the failure.
	Reply Reply
	// Err is the local cause, for the log and the events: senders never read
	// it. nil when the remote host decided.
	Err error
	// Permanent tells that no further attempt may help. Say so only of what the
	// far side has said, or what is proved: what may pass is never final.
	Permanent bool
}

// Error returns the failure in one line.
func (e *Error) Error() string {
	where := e.Host
	if e.Op != OpOther {
		where = strings.TrimSuffix(e.Op.String()+" "+e.Host, " ")
	}
	var parts []string
	for _, part := range []string{where, e.Reply.String(), e.cause()} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return "not delivered"
	}
	return strings.Join(parts, ": ")
}

func (e *Error) cause() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap returns the local cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether a later attempt may succeed.
func (e *Error) Temporary() bool { return !e.Permanent }
