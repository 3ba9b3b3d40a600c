package relay

import (
	"fmt"
	"net/netip"
	"time"
)

// EventKind says what happened.
type EventKind uint8

// What happens to a message and its recipients. Accepted is followed, for each
// of its recipients, by exactly one of Delivered, Bounced, Expired and Removed.
const (
	// Accepted: the message is durable and its sender was told so. A report is
	// accepted too: its From is empty.
	Accepted EventKind = iota + 1
	// Rejected: a command or a message was refused. Nothing was queued.
	Rejected
	// Attempted: an attempt to deliver begins. To holds nothing.
	Attempted
	// Delivered: the next hop or the mailbox has taken the recipient's copy.
	// Report names the report of success, if the sender asked for one and the
	// next hop does not make it.
	Delivered
	// Deferred: an attempt failed for now; there will be another. Report names
	// the report of the delay, at the attempt that made one.
	Deferred
	// Bounced: the recipient's copy failed for good. Report names the report
	// sent to the sender, if one was due.
	Bounced
	// Expired: the copy was given up because of its age. Report as with
	// Bounced.
	Expired
	// Removed: an operator removed the copy from the queue, or its envelope was
	// damaged on the disk and nobody knows whom it was for: then To is empty or
	// in doubt, Enhanced is 5.3.0, and Text tells what was damaged and what was
	// saved.
	Removed
)

var eventNames = [...]string{
	"", "accepted", "rejected", "attempt", "delivered", "deferred", "bounced", "expired", "removed",
}

// String returns the kind's name in lower case.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && k != 0 {
		return eventNames[k]
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// MarshalText returns the kind's name.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *EventKind) UnmarshalText(b []byte) error {
	for i, n := range eventNames {
		if i > 0 && n == string(b) {
			*k = EventKind(i)
			return nil
		}
	}
	return fmt.Errorf("relay: unknown event kind %q", b)
}

// Event tells what happened to a message or, from Delivered on, to one
// recipient of it. Fields that do not apply are zero.
type Event struct {
	Time      time.Time
	Kind      EventKind
	QueueID   string
	Connector string         // the receive connector
	Remote    netip.AddrPort // the client
	// TLS is the version and the suite of the client's connection, "TLSv1.3
	// TLS_AES_128_GCM_SHA256". Empty without TLS.
	TLS string
	// Certificate is the first name in the client's certificate, if it has been
	// verified.
	Certificate string
	User        string // the authenticated user
	// Credential is the id of the [auth.Credential] that User has logged on
	// with; empty without one. It is told of what a client does: Accepted and
	// Rejected. QueueID leads to it from the others.
	Credential string
	From       string   // reverse-path; empty for the null sender
	To         []string // the recipients this is about
	Size       int64    // of the message, in bytes
	// Code, Enhanced and Text are the reply given (Rejected) or received
	// (from Delivered on); Code is 0 when the cause is local.
	Code     int
	Enhanced string
	Text     string
	Host     string    // the remote host, name and address
	Attempt  int       // 1 for the first
	Next     time.Time // Deferred: when the next attempt is due
	Report   string    // from Delivered on: queue id of the report made of this
	// Stage is where a client was refused: connect, tls, helo, auth, mail,
	// rcpt, data. No reply was given if Code is 0: after a failed TLS
	// handshake, and to a peer that no connector is for, of which at most 20 a
	// second are told.
	Stage string
	// Command is what the client sent, where a command was refused because it
	// was malformed: printable, and its first 128 bytes at most.
	Command string
	// Reason tells why a command was refused: the right that was missing, or
	// the internal cause. It is for the application and never goes to the
	// client.
	Reason string
	// Labels are those the application put on the message or the session.
	Labels map[string]string
}
