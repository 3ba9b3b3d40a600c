package relay

import (
	"context"
	"errors"
	"io"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/spool"
)

// Transport takes mail over. Implement it to deliver by the application's own
// means.
type Transport interface {
	// Deliver tries to hand the message over and returns one Result for each
	// of a.Recipients, in their order. A missing Result counts as temporary.
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
		return failed(a, errors.New("relay: a TransportFunc without a function"))
	}
	return f(ctx, a)
}

// failed returns an error for each recipient.
func failed(a *Attempt, err error) []Result {
	if a == nil {
		return nil
	}
	results := make([]Result, len(a.Recipients))
	for i := range results {
		results[i].Err = err
	}
	return results
}

// Attempt is one attempt to deliver a message to some of its recipients.
type Attempt struct {
	QueueID string
	Number  int // 1 for the first
	Message spool.Message
	// Recipients is the forward-paths to be served and what their sender asked
	// for.
	Recipients []spool.Recipient
	// Open returns the content from its start: header and body as they go out,
	// lines ended by CRLF. It may be called more than once. An error of Open or
	// Read that wraps spool.ErrDamaged belongs into the Result: such a message
	// fails for good, and what was sent of it must not be taken for whole.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Result is what an attempt came to for one recipient: nil Err means
// delivered. An Err that is no [*DeliveryError] counts as temporary.
type Result struct {
	Err error
	// Host and Reply tell who took it and what it said. Optional.
	Host  string
	Reply string
	// DSN tells that who took it was given what the sender asked for by DSN,
	// and reports success itself (RFC 3461 section 5.2.1). Defaults to false:
	// the relay reports it to a sender who asked for that.
	DSN bool

	arrived bool // set where a recipient is routed anew: see isFinal
}

// Mailbox returns a Transport that calls deliver once for each recipient. An
// error is temporary unless it is made by [Reject] or is a permanent
// [*DeliveryError].
func Mailbox(deliver func(ctx context.Context, to domains.Address, a *Attempt) error) Transport {
	if deliver == nil {
		return TransportFunc(nil)
	}
	return TransportFunc(func(ctx context.Context, a *Attempt) []Result {
		results := make([]Result, len(a.Recipients))
		for i, r := range a.Recipients {
			to, err := domains.Parse(r.Address)
			if err == nil {
				err = deliver(ctx, to, a)
			}
			results[i].Err = err
		}
		return results
	})
}
