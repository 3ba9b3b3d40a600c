package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

const (
	// answerLimit is how long a Policy function, a look-up of a recipient or of
	// a name, or a Quota may take. A client waits longer (RFC 5321 section
	// 4.5.3.2).
	answerLimit = time.Minute
	// returnGrace is what a Transport has to give its results when its context
	// has ended.
	returnGrace = 500 * time.Millisecond
)

// callbacks are the calls of what the application has given, each kind with a
// bound of its own, so that one does not hold up another.
type callbacks struct {
	policy, recipients, quota, resolver, transport, verifier, dial *smtpd.Calls
}

func newCallbacks(log *slog.Logger) callbacks {
	calls := func(grace time.Duration) *smtpd.Calls { return smtpd.NewCalls(log, grace) }
	return callbacks{
		policy: calls(0), recipients: calls(0), quota: calls(0), resolver: calls(0),
		transport: calls(returnGrace), verifier: calls(0), dial: calls(0),
	}
}

// left counts the calls that nobody waits for any more.
func (c *callbacks) left() (n int) {
	for _, calls := range []*smtpd.Calls{
		c.policy, c.recipients, c.quota, c.resolver, c.transport, c.verifier, c.dial,
	} {
		n += calls.Abandoned()
	}
	return n
}

// errLeftAlone tells that a Policy function still has its Session and Incoming.
var errLeftAlone = errors.New("relay: a Policy function was left alone")

// consult asks a function of the application and waits no longer than
// answerLimit.
func (c *callbacks) consult(
	ctx context.Context, session string, f func(context.Context) error,
) error {
	err := asked(ctx, c.policy, "a Policy function", slog.String("session", session), f)
	if errors.Is(err, smtpd.ErrUnanswered) {
		return fmt.Errorf("%w: %w", errLeftAlone, err)
	}
	return err
}

// spend counts a message against the quota of its sender.
func (p *rules) spend(ctx context.Context, id *auth.Identity) error {
	return asked(ctx, p.calls.quota, "a Quota", slog.String("user", id.User),
		func(ctx context.Context) error { return p.quota.Spend(ctx, id) })
}

// resolve asks whether a recipient exists.
func (p *rules) resolve(
	ctx context.Context, d *domains.AcceptedDomain, to domains.Address,
) (bool, error) {
	switch d.Recipients.(type) {
	case *domains.RecipientsFile, interface{ InMemory() }:
		return d.Recipients.Resolve(ctx, to)
	}
	return p.resolveApart(ctx, d.Recipients, to)
}

func (p *rules) resolveApart(
	ctx context.Context, r domains.Resolver, to domains.Address,
) (bool, error) {
	return bounded(ctx, p.calls.recipients, "Recipients", slog.String("to", to.String()),
		func(ctx context.Context) (bool, error) { return r.Resolve(ctx, to) })
}

// bounded calls f with a context of its own that ends after answerLimit.
func bounded[T any](
	ctx context.Context, c *smtpd.Calls, what string, whom slog.Attr,
	f func(context.Context) (T, error),
) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	return smtpd.Call(ctx, c, what, whom, func() (T, error) { return f(ctx) })
}

// asked is bounded for a function that only says no.
func asked(
	ctx context.Context, c *smtpd.Calls, what string, whom slog.Attr, f func(context.Context) error,
) error {
	_, err := bounded(ctx, c, what, whom,
		func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

// boundDial is an application's Dial; nil for nil.
func boundDial(calls *smtpd.Calls, dial dialFunc) dialFunc {
	if dial == nil {
		return nil
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return bounded(ctx, calls, "Dial", slog.String("address", address),
			func(ctx context.Context) (net.Conn, error) {
				c, err := dial(ctx, network, address)
				if c != nil && ctx.Err() != nil { // nobody waits for it any more
					_ = c.Close()
					return nil, ctx.Err()
				}
				return c, err
			})
	}
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// boundTransport delivers by an application's Transport.
type boundTransport struct {
	calls *smtpd.Calls
	of    delivery.Transport
}

// Deliver implements [delivery.Transport].
func (t boundTransport) Deliver(
	ctx context.Context, a *delivery.Attempt,
) []delivery.Result {
	results, err := smtpd.Call(ctx, t.calls, "a Transport", slog.String("queue_id", a.QueueID),
		func() ([]delivery.Result, error) { return t.of.Deliver(ctx, a), nil })
	if err != nil {
		return a.All(delivery.Failed(&delivery.Error{Op: delivery.OpContent, Err: err}))
	}
	return results
}
