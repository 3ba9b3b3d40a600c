package delivery

import (
	"context"
	"errors"
	"io"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/spool"
)

// Transport takes mail over. Implement it to deliver by the application's own
// means.
type Transport interface {
	// Deliver tries to hand the message over and returns one Result for each
	// of a.Recipients, in their order. A missing or zero Result is "not yet".
	// It is called from many goroutines at once. ctx ends when the relay
	// stops or after 50 minutes. Results must then come within half a second,
	// or the attempt counts as failed for now. A panic is such a failure too.
	Deliver(ctx context.Context, a *Attempt) []Result
}

// TransportFunc is an adapter to use a function as a Transport.
type TransportFunc func(ctx context.Context, a *Attempt) []Result

// Deliver calls f.
func (f TransportFunc) Deliver(ctx context.Context, a *Attempt) []Result {
	switch {
	case a == nil:
		return nil
	case f == nil:
		return a.All(Failed(errors.New("delivery: a TransportFunc without a function")))
	}
	return f(ctx, a)
}

// Attempt is one attempt to deliver a message to some of its recipients.
type Attempt struct {
	QueueID string
	Number  int // 1 for the first
	Message spool.Message
	// Recipients are who gets a copy, and what the sender asked to hear of it.
	Recipients []spool.Recipient
	// Open returns the content from its start: header and body as they go out,
	// lines ended by CRLF. It may be called more than once. An error of Open or
	// Read that wraps spool.ErrDamaged belongs into the Result: such a message
	// fails for good, and what was sent of it must not be taken for whole.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Sender is the relay's SMTP client, which [SMTP] uses. It is nil in an
	// Attempt that no relay has made.
	Sender Sender
}

// Sender makes SMTP and LMTP transactions. The relay lends its own to each
// Attempt, with its connections, its clocks and its keys: where a host takes no
// 8-bit content, what has to be converted is signed again.
type Sender interface {
	// Send tries to hand a message over to a next hop with fixed hosts, and
	// returns one Result for each of a.Recipients, in their order. It may be
	// called from many goroutines at once. It does not keep hop or a.
	Send(ctx context.Context, hop *connector.NextHop, a *Attempt) []Result
}

// All returns r for each recipient.
func (a *Attempt) All(r Result) []Result {
	if a == nil {
		return nil
	}
	results := make([]Result, len(a.Recipients))
	for i := range results {
		results[i] = r
	}
	return results
}

// For returns the same attempt for some of its recipients only: those at the
// given places of a.Recipients.
func (a *Attempt) For(places ...int) *Attempt {
	part := *a
	part.Recipients = make([]spool.Recipient, len(places))
	for i, place := range places {
		part.Recipients[i] = a.Recipients[place]
	}
	return &part
}
