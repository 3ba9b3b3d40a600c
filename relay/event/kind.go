package event

import "fmt"

// Kind says what happened. Its text is its value, so that a kind of a later
// version stays readable. The zero Kind is none.
type Kind string

// What happens to a message and its recipients.
const (
	// Accepted: the message is durable and its sender was told so. A report is
	// accepted too: its From is empty and its ReportOf says about which
	// message. A message of very many recipients has several of these, each
	// with its part of them in To.
	Accepted Kind = "accepted"
	// Rejected: a command or a message was refused. Nothing was queued.
	Rejected Kind = "rejected"
	// Attempted: an attempt to deliver begins. To holds nothing.
	Attempted Kind = "attempted"
	// Delivered: the next hop or the mailbox has taken the recipient's copy.
	// Report names the report of success, if the sender asked for one and the
	// next hop does not make it.
	Delivered Kind = "delivered"
	// Deferred: an attempt failed for now; there will be another. Report names
	// the report of the delay, at the attempt that made one.
	Deferred Kind = "deferred"
	// Bounced: the recipient's copy failed for good. Report names the report
	// sent to the sender, if one was due.
	Bounced Kind = "bounced"
	// Expired: the copy was given up because of its age. Report as with
	// Bounced.
	Expired Kind = "expired"
	// Removed: the application or an operator took the copy from the queue, or
	// its envelope was damaged on the disk and nobody knows whom it was for:
	// then To is empty or in doubt, Enhanced is 5.3.0, and Text tells what was
	// damaged and what was saved.
	Removed Kind = "removed"
	// Poisoned: attempts at the copy crashed what the application has given,
	// two in a row. It is set aside, and is tried again only when an operator
	// says so. It is no fate. Report as with Deferred.
	Poisoned Kind = "poisoned"
	// Throttled: because of this class of refusal the relay sends less to Site,
	// or nothing, until Next. Attempt is 1 when that begins, and more when it
	// is renewed. It is about no message: QueueID, To and Labels are empty.
	Throttled Kind = "throttled"
	// Lifted: a throttle was ended before its time, by the application or an
	// operator. It is live only.
	Lifted Kind = "lifted"
)

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{
		Accepted, Rejected, Attempted, Delivered, Deferred, Bounced, Expired, Removed,
		Poisoned, Throttled, Lifted,
	}
}

// Fate reports whether the kind ends a recipient's wait.
func (k Kind) Fate() bool {
	return k == Delivered || k == Bounced || k == Expired || k == Removed
}

// String returns the kind's name in lower case.
func (k Kind) String() string { return string(k) }

// MarshalText returns the kind's name. The zero Kind has none.
func (k Kind) MarshalText() ([]byte, error) {
	if k == "" {
		return nil, fmt.Errorf("event: no kind")
	}
	return []byte(k), nil
}

// UnmarshalText reads the name of a kind of this version. [Parse] takes others
// too.
func (k *Kind) UnmarshalText(b []byte) error {
	for _, known := range Kinds() {
		if string(known) == string(b) {
			*k = known
			return nil
		}
	}
	return fmt.Errorf("event: unknown kind %q", b)
}
