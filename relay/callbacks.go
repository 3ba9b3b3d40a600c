package relay

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// returnGrace is what a Transport has to give its results when its context has
// ended.
const returnGrace = 500 * time.Millisecond

// callbacks are the calls of what the application has given, each kind with a
// bound of its own, so that one does not hold up another.
type callbacks struct {
	policy, recipients, quota, resolver, transport, verifier, dial *policy.Calls
}

func newCallbacks(log *slog.Logger) callbacks {
	calls := func(grace time.Duration) *policy.Calls { return policy.NewCalls(log, grace) }
	return callbacks{
		policy: calls(0), recipients: calls(0), quota: calls(0), resolver: calls(0),
		transport: calls(returnGrace), verifier: calls(0), dial: calls(0),
	}
}

// left counts the calls that nobody waits for any more.
func (c *callbacks) left() (n int) {
	for _, calls := range []*policy.Calls{
		c.policy, c.recipients, c.quota, c.resolver, c.transport, c.verifier, c.dial,
	} {
		n += calls.Abandoned()
	}
	return n
}

// boundDial is an application's Dial; nil for nil.
func boundDial(calls *policy.Calls, dial dialFunc) dialFunc {
	if dial == nil {
		return nil
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return policy.Ask(ctx, calls, "Dial", slog.String(logkey.Address, address),
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
	calls *policy.Calls
	of    delivery.Transport
}

// Deliver implements [delivery.Transport].
func (t boundTransport) Deliver(
	ctx context.Context, a *delivery.Attempt,
) []delivery.Result {
	results, err := policy.Call(ctx, t.calls, "a Transport", slog.String(logkey.QueueID, a.QueueID),
		func() ([]delivery.Result, error) { return t.of.Deliver(ctx, a), nil })
	if err != nil {
		return a.All(delivery.Failed(&delivery.Error{Err: err}))
	}
	return results
}
