package event

import (
	"net/netip"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
)

// Event tells what happened to a message or, from Delivered on, to one
// recipient of it. Fields that do not apply are zero.
type Event struct {
	// ID is the same wherever and however often the event is told.
	ID   string
	Time time.Time
	Kind Kind
	// QueueID is the message's.
	QueueID string
	// ReportOf is the queue id of the message that this one, a report made by
	// the relay, is about. Empty for all other messages.
	ReportOf string
	// Stream is the message's kind in the application's words. Empty is the
	// default one.
	Stream    string
	Connector string         // the receive connector
	Remote    netip.AddrPort // the client
	// TLS is the version and the suite of the client's connection, "TLSv1.3
	// TLS_AES_128_GCM_SHA256". Empty without TLS.
	TLS string
	// Certificate is the first name in the client's certificate, if it has been
	// verified.
	Certificate string
	User        string // the authenticated user
	// Credential is the id of the auth.Credential that User has logged on
	// with; empty without one. Accepted and Rejected have it. QueueID leads to
	// it from the others.
	Credential string
	From       string   // reverse-path; empty for the null sender
	To         []string // the recipients this is about
	Size       int64    // of the message, in bytes
	// Code, Enhanced and Text are the reply given (Rejected) or received
	// (from Delivered on); Code is 0 when the cause is local. Enhanced begins
	// with 4 where there will be another attempt, whatever was received.
	Code     int
	Enhanced string
	Text     string
	Host     string // the remote host, name and address
	// Class is the kind of failure: of Deferred and Bounced that of this
	// attempt, of Expired that of the last one, of Throttled and Lifted that of
	// the cause. A stored event may have one of a later version, or none, if an
	// earlier one wrote it.
	Class   bounce.Class
	Attempt int // 1 for the first
	// Delay is the time from the message's acceptance to this.
	Delay time.Duration
	// Next is when the next attempt is due (Deferred), or a throttle ends.
	Next   time.Time
	Report string // from Delivered on: queue id of the report made of this
	// Site is what a throttle is for: the mail exchangers of one or more
	// domains, or a send connector's hosts. Throttled and Lifted have it.
	Site string
	// Throttle is the id of a throttle, that of relay.Relay.LiftThrottle.
	Throttle string
	// Stage is where a client was refused. No reply was given if Code is 0:
	// after a failed TLS handshake, and to a peer that no connector is for, of
	// which at most 20 a second are told.
	Stage Stage
	// Command is what the client sent, where a command was refused because it
	// was malformed: printable, and its first 128 bytes at most.
	Command string
	// Reason tells why a command was refused: the right that was missing, or
	// the internal cause. It is for the application and never goes to the
	// client.
	Reason string
	// Labels are those the application put on the message or the session.
	Labels map[string]string
	// Cursor is the place behind this event in the log (a spool.Cursor), by
	// which a consumer keeps its place in a transaction of its own. Follow sets
	// it; it is 0 on live events, and no part of the stored form or the ID.
	Cursor uint64
}
