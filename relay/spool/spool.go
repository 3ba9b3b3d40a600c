package spool

import (
	"context"
	"errors"
	"io"
	"time"
)

var (
	// ErrExists answers Create or Commit for the id of a message that is in the
	// store. A derived id ([DeriveID]) with ErrExists tells that the work is
	// done already. A store may forget the id of a message that is finished, so
	// whoever needs the work done once puts the Settle of its cause into the
	// same Commit.
	ErrExists = errors.New("spool: message exists")
	// ErrNotFound answers Open for a message that is not in the store.
	ErrNotFound = errors.New("spool: message not found")
	// ErrDamaged answers Open, or a Read of what it returned, for content that
	// is gone or not what was written: a further attempt would find the same.
	// Every other error of theirs may pass. It also stands in [Lease].Damaged.
	ErrDamaged = errors.New("spool: message is damaged")
	// ErrLeaseLost answers Settle, and Commit with a settlement, for a lease
	// that ended or was given to somebody else.
	ErrLeaseLost = errors.New("spool: lease lost")
	// ErrFull answers Create, Write and Commit when the store has no room, and
	// Lease when there is none to record what becomes of deliveries. It is
	// temporary.
	ErrFull = errors.New("spool: no room")
	// ErrNoDelivery answers Commit without deliveries.
	ErrNoDelivery = errors.New("spool: commit without deliveries")
	// ErrFailed answers every Commit after a failure that leaves the store
	// unable to promise durability, such as a failed fsync, and may answer
	// Create and Lease. Only reopening the store helps.
	ErrFailed = errors.New("spool: store has failed")
	// ErrClosed answers every method after Close.
	ErrClosed = errors.New("spool: store is closed")
)

// Message is what is known of a message beside its content. It does not change
// after Commit.
type Message struct {
	// ID is the one given to Create. The store sets it.
	ID      ID
	Created time.Time
	// From is the reverse-path without angle brackets; empty is the null
	// sender.
	From string
	// EnvelopeID is the decoded ENVID (RFC 3461).
	EnvelopeID string
	// Return tells how much of the message a report shows. May be empty.
	Return Return
	// Body tells how the content is encoded. Empty is Body7Bit.
	Body Body
	// UTF8 tells that the message was submitted with SMTPUTF8 (RFC 6531).
	UTF8 bool
	// Signatures is the number of DKIM-Signature fields at the top of the
	// content that the relay put there itself. Whoever changes the content has
	// to replace them. Defaults to 0.
	Signatures int
	// Size is the length of the content with what Commit puts in front. The
	// store sets it.
	Size int64
	// Origin tells where the message came from.
	Origin Origin
	// Stream is the application's kind of mail or tenant; it stands in the Key
	// of each delivery as well. May be empty.
	Stream string
	// NotBefore is when the message may go out: its age is counted from then on
	// where it is later than Created. Defaults to the zero time: at once.
	NotBefore time.Time
	// ReportOf is the message that this one is a report about. Defaults to the
	// zero ID for what is no report.
	ReportOf ID
	// Moves is how often the message was moved from one store to another.
	// Whoever moves it counts. Defaults to 0.
	Moves int
	// Labels are the application's own; they appear on events.
	Labels map[string]string
}

// Origin tells where a message came from.
type Origin struct {
	Connector string // name of the receive connector; empty for Relay.Submit and bounces
	Remote    string // the peer's address; of a bounce, that of its message
	User      string // the authenticated user
}

// Recipient is one recipient of a delivery and what the last attempt said of
// it.
type Recipient struct {
	// Address is the forward-path without angle brackets.
	Address string
	// Notify is what the sender asked to be told of.
	Notify Notify
	// Delayed tells that the sender has been told of the delay, or is not to
	// be.
	Delayed bool
	// Original is the ORCPT parameter, "rfc822;user@example.com", decoded. May
	// be empty.
	Original string
	// Status, Diagnostic and Host keep the last temporary failure for the
	// report at expiry: enhanced status code, the reply or the local cause, and
	// the remote host. Stores may cut Diagnostic at 512 bytes.
	Status, Diagnostic, Host string
}

// Delivery is one key's share of a message.
type Delivery struct {
	ID DeliveryID
	// Key tells where it goes and for whom. A store groups by it.
	Key        Key
	Recipients []Recipient
	// Due is when the next attempt may start, Expires when no further one is
	// made, by the wall clock. A store compares Due with its own clock and only
	// keeps Expires. In a Commit a zero Due is that clock's now.
	Due, Expires time.Time
	// Attempts counts the attempts made so far.
	Attempts int
	// Held keeps the delivery from being handed out by Lease. Defaults to
	// false.
	Held bool
	// Crashes counts the attempts, the last ones in a row, that crashed what
	// the application has given. A store may keep 15 for more. Defaults to 0.
	Crashes int
}

// Commit is what makes a written message visible.
type Commit struct {
	Message    Message
	Deliveries []Delivery // at least one; ids are filled in by the store as 0, 1, 2…
	// Prepend is put in front of the content as written: trace fields and
	// signatures.
	Prepend []byte
	// Settle is applied in the same step as the commit: both happen or neither.
	// A lost lease among them makes Commit fail with ErrLeaseLost.
	Settle []Settlement
	// Events go to the log of a store that has one, in the same step, before
	// those of Settle. Others ignore them.
	Events []Record
	// Claim is the idempotency key. If it is in use, a store with Keys answers
	// a *ClaimedError and nothing is stored; others ignore it. May be nil.
	Claim *Claim
}

// Settlement ends a lease.
type Settlement struct {
	ID    DeliveryID
	Token uint64
	// Remaining are the recipients still to be served. Empty ends the delivery;
	// otherwise it becomes due again, with Attempts.
	Remaining []Recipient
	// Wait is how long after the settlement the delivery is due again, by the
	// store's clock. Negative is none.
	Wait time.Duration
	// Due is when it is due again, by the wall clock. Set, it counts in place
	// of Wait. Defaults to the zero time.
	Due      time.Time
	Attempts int
	// Key moves the delivery. Nil keeps its key.
	Key *Key
	// Held puts the delivery on hold; without it what was on hold is released.
	Held bool
	// Crashes are those of the delivery from now on. Defaults to 0.
	Crashes int
	// Events go to the log of a store that has one, in the same step. Others
	// ignore them.
	Events []Record
}

// LeaseRequest asks for due deliveries.
type LeaseRequest struct {
	// Max is the greatest number wanted.
	Max int
	// TTL is how long the leases last unless renewed, by the store's clock.
	TTL time.Duration
	// Busy are keys of which nothing is wanted now, Only those of which
	// something is wanted; no Only means all but Busy. Route and Domain are
	// compared as they are. An empty Stream stands for every stream.
	Busy, Only []Key
	// NotRoutes are routes of which nothing is wanted now, whatever the rest of
	// the key, also if Only has it.
	NotRoutes []string
	// NotStreams are streams of which nothing is wanted now, whatever the rest
	// of the key, also if Only has it; empty is the stream without a name.
	NotStreams []string
	// MaxPerKey bounds what this call hands out of one key, each stream for
	// itself. Defaults to 0, no bound.
	MaxPerKey int
}

// Leased is the answer to a LeaseRequest.
type Leased struct {
	Leases []Lease
	// Wait is how long it takes until the next delivery of a key that is wanted
	// is due or the next lease ends, as far as the store knows: 0 if more is
	// due now, negative if it knows of nothing.
	Wait time.Duration
}

// Lease is a delivery handed out to one holder.
type Lease struct {
	Message  Message
	Delivery Delivery
	// Token fences: who has another one does not hold the lease. It is random
	// and never 0, so that a store which forgets a lease, in a crash or a
	// fail-over, does not give its token to somebody else.
	Token uint64
	// Damaged is set when the store cannot read any more to whom the message
	// goes. It is an ErrDamaged that tells what was damaged, where, and what
	// was saved. Then only the ids and the key are sure. The holder makes the
	// loss known, then settles. Defaults to nil.
	Damaged error
}

// Held names a lease by what its holder needs to know of it.
type Held struct {
	ID    DeliveryID
	Token uint64
}

// Stats are the totals of a store.
type Stats struct {
	Messages   int64
	Deliveries int64
	Leased     int64 // those that somebody holds
	Bytes      int64 // content, as far as known
}

// Store keeps the queue.
type Store interface {
	// Create begins a message. Nothing is visible before Commit.
	Create(ctx context.Context, id ID) (Writer, error)
	// Open reads the content of a message from its start. It may be called
	// many times. The reader may also be an io.WriterTo. What is not what was
	// written never ends with io.EOF: see ErrDamaged.
	Open(ctx context.Context, id ID) (io.ReadCloser, error)
	// Lease hands out due deliveries that are not on hold, oldest due first.
	// Where several streams of one route and domain have some, they take turns:
	// one with many does not hide the others. What it returns is the caller's
	// own. Only the store's clock ends a lease, and no step of the wall clock
	// does.
	Lease(ctx context.Context, r LeaseRequest) (Leased, error)
	// Renew makes leases last for ttl from now on, all those of a holder in one
	// call, and returns those that it does not hold any more. With an error it
	// is not known which were renewed.
	Renew(ctx context.Context, ttl time.Duration, held []Held) (lost []Held, err error)
	// Return gives leases back without an attempt: nothing changes, but the
	// deliveries are not handed out again before wait is over. Those that are
	// lost are passed over.
	Return(ctx context.Context, wait time.Duration, held []Held) error
	// Settle ends a lease, or answers ErrLeaseLost to whoever does not hold it.
	Settle(ctx context.Context, s Settlement) error
	// Stats returns the totals. It is cheap.
	Stats(ctx context.Context) (Stats, error)
	// Close ends the store. Leases end with it.
	Close() error
}

// Writer takes the content of one message.
type Writer interface {
	io.Writer
	// Commit makes the message durable and visible. After it, whatever it
	// answered, the Writer is at its end. It keeps nothing of c. A context that
	// is done before the store began to write makes it fail; later it waits for
	// the outcome.
	Commit(ctx context.Context, c Commit) error
	// Abort forgets what was written. After Commit it does nothing.
	Abort() error
}

// Waker is an optional interface of a Store that other processes may fill.
type Waker interface {
	// Wake receives a value when deliveries may have become due sooner than the
	// last Leased.Wait told.
	Wake() <-chan struct{}
}

// Expecter is an optional interface of a Store for which a lease is a step that
// costs as much as a commit: it can do both in one.
type Expecter interface {
	// Expect tells what the caller is ready to lease of what is committed to
	// this store from now on, until the next call of Expect. The store may
	// lease it in the step that commits it, and hands it out in the next Lease
	// that wants it. It wakes who waits for that, as Waker does. What is not
	// asked for within a second or two goes back to the others.
	//
	// Only what is due is leased so, and nothing that would go before others of
	// its key. The store keeps e; it is not to be written to. Expect may be
	// called at any time, and does not wait.
	Expect(e Expected)
}

// Expected are deliveries that somebody is ready to lease. The zero value is
// none.
type Expected struct {
	// Max is the greatest number, with those that were leased so before and
	// wait for Lease. Defaults to 0, none.
	Max int
	// TTL is as in LeaseRequest.
	TTL time.Duration
	// Keys tells how many of a key, each stream for itself. They have no
	// Stream here.
	Keys map[Key]int
	// Others is how many of each key that Keys has not, each stream for itself.
	// Defaults to 0, none.
	Others int
	// NotRoutes and NotStreams are as in LeaseRequest.
	NotRoutes, NotStreams []string
}

// Recaller is an optional interface of a Store that has to ask elsewhere for
// content, and keeps in memory what was committed to it last.
type Recaller interface {
	// Recall returns the content of a message as it was committed, or nil if
	// it is not in memory: then Open reads it. It is for whoever has a lease of
	// the message, as the store does not ask whether there is one. The content
	// is not to be written to. It may be called at once by many.
	Recall(id ID) []byte
}

// Gauge is an optional interface of a Store that knows how much room is left.
type Gauge interface {
	// Free returns the bytes that can still be written.
	Free() (int64, error)
}

// Prepared is a message made ready by a relay for a store that commits it in
// a transaction of the application.
type Prepared struct {
	Commit  Commit
	Content []byte
}
