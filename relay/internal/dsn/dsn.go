package dsn

import (
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	// MaxFull is the greatest original that is attached whole when the sender
	// asked for that with RET=FULL.
	MaxFull = 10 << 20
	// MaxDefault is the same for a sender who did not say. RFC 3461 section 4.3
	// leaves it to us.
	MaxDefault = 50 << 10
)

// Action is what became of a recipient (RFC 3464 section 2.3.3).
type Action string

// The actions. A message that expired has failed.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed" // to a host that sends no reports itself
	Expanded  Action = "expanded"
)

// Wanted reports whether a report is to be made of a recipient with that
// Notify. Nothing is reported to the null sender, so that a report is never
// answered by another (RFC 5321 section 6.1). A sender who did not say what to
// report hears of failure and delay.
func Wanted(from string, n spool.Notify, a Action) bool {
	switch {
	case from == "" || n&spool.NotifyNever != 0:
		return false
	case n == 0:
		return a == Failed || a == Delayed
	}
	switch a {
	case Failed:
		return n&spool.NotifyFailure != 0
	case Delayed:
		return n&spool.NotifyDelay != 0
	case Delivered, Relayed, Expanded:
		return n&spool.NotifySuccess != 0
	}
	return false
}

// Report is one notification on one message.
type Report struct {
	// ID is the queue id of the report itself; it makes the Message-ID.
	ID string
	// Hostname is the host that reports.
	Hostname string
	// From is the address the report comes from. Defaults to postmaster at
	// Hostname.
	From string
	// To is the sender of the original.
	To string
	// Date is when the report is made.
	Date time.Time

	// OriginalID is the queue id of the original, Arrival when it came.
	OriginalID string
	Arrival    time.Time
	// EnvelopeID is the ENVID of the original, decoded. May be empty.
	EnvelopeID string
	// Return is FULL, HDRS or empty, as in [spool.Message]. A report of a
	// failure attaches the original whole, if it is no larger than [MaxFull]
	// with FULL and [MaxDefault] with an empty Return. Otherwise only its
	// header section is attached, and so it is for every other report (RFC 3461
	// section 4.3) and for an original in BINARYMIME.
	Return spool.Return
	// Size, Body and UTF8 are those of the original, as in [spool.Message].
	// A Size of 0 or less is unknown.
	Size int64
	Body spool.Body
	UTF8 bool

	// Recipients are those the report is about, at least one.
	Recipients []Recipient

	boundary string // random when empty; tests set it
}

// Recipient is what became of one recipient.
type Recipient struct {
	// Address is the forward-path without angle brackets.
	Address string
	// Original is the decoded ORCPT, "rfc822;user@example.com". May be empty.
	Original string
	Action   Action
	// Status is the enhanced status code. Defaults to 5.0.0, 4.0.0 or 2.0.0 by
	// Action.
	Status string
	// Host is the remote host that gave the reply, "mx.example.com
	// [192.0.2.1]:25". Empty for a local cause.
	Host string
	// Reply is what the remote host said. Without a Code its Text is the local
	// cause in words meant for the sender, not the text of an internal error.
	// May be zero.
	Reply delivery.Reply
	// LastAttempt is when delivery was last tried, WillRetryUntil when a
	// delayed message will expire. Either may be zero.
	LastAttempt, WillRetryUntil time.Time
}
