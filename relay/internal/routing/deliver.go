package routing

import (
	"context"
	"errors"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

var (
	errNoRoute  = errors.New("relay: no send connector matches the recipient's domain")
	errTooLarge = errors.New("relay: the message is too large for every matching send connector")
)

// Deliver hands a message over to where a key leads, and returns one result for
// each recipient. The Attempt is sent by lent, which notes where copies are.
func (r *Routes) Deliver(
	ctx context.Context, k spool.Key, lent *Loan, a *delivery.Attempt,
) []delivery.Result {
	results := make([]delivery.Result, len(a.Recipients))
	copy(results, r.handOver(ctx, k, lent, a))
	if !r.isFinal(k) {
		return results
	}
	for i := range results {
		if results[i].OK() {
			lent.assumeFinal(a.Recipients[i].Address)
		}
	}
	return results
}

// isFinal reports whether a key leads to mailboxes, and not to another host on
// the way there.
func (r *Routes) isFinal(k spool.Key) bool {
	h := r.hopOf(k)
	return k.Route == mailbox && r.mailboxes != nil || h != nil && h.next.LMTP
}

func (r *Routes) handOver(
	ctx context.Context, k spool.Key, lent *Loan, a *delivery.Attempt,
) []delivery.Result {
	switch {
	case k.Route == mailbox && r.mailboxes != nil:
		return r.mailboxes.Deliver(ctx, a)
	case k.Route == transport && r.transport != nil:
		return r.transport.Deliver(ctx, a)
	}
	switch h := r.hopOf(k); {
	case h == nil:
		return r.reroute(ctx, lent, a)
	case h.transport != nil:
		return h.transport.Deliver(ctx, a)
	default:
		return r.sender.send(ctx, h.next, k.Domain, a)
	}
}

// reroute serves recipients whose key leads nowhere: none matched when they
// were accepted, or the configuration has changed since.
func (r *Routes) reroute(
	ctx context.Context, lent *Loan, a *delivery.Attempt,
) []delivery.Result {
	results := make([]delivery.Result, len(a.Recipients))
	groups := make(map[spool.Key][]int)
	for i, rcpt := range a.Recipients {
		k, err := r.keyNow(ctx, rcpt.Address, a.Message.Size)
		if err != nil {
			results[i] = delivery.Failed(err)
			continue
		}
		groups[k] = append(groups[k], i)
	}
	for k, places := range groups {
		for j, res := range r.Deliver(ctx, k, lent, a.For(places...)) {
			results[places[j]] = res
		}
	}
	return results
}

// keyNow routes a recipient at an attempt: what may be asked later is asked
// now. An error tells why there is no route.
func (r *Routes) keyNow(ctx context.Context, address string, size int64) (spool.Key, error) {
	to, err := domains.Parse(address)
	if err != nil {
		return spool.Key{}, noRoute("5.1.3", err)
	}
	p, refusal := r.rules.FindNow(ctx, to)
	if refusal != nil {
		return spool.Key{}, refused(refusal)
	}
	k := r.KeyOf(p, to, size)
	switch k.Route {
	case unreachable:
		return k, noRoute("4.4.4", errNoRoute)
	case tooLarge:
		return k, noRoute("5.3.4", errTooLarge)
	}
	return k, nil
}

// noRoute is for good if the enhanced code says so.
func noRoute(enhanced string, err error) error {
	return &delivery.Error{
		Op: delivery.OpRoute, Err: err, Permanent: enhanced[0] == '5',
		Reply: delivery.Reply{Enhanced: enhanced},
	}
}

// refused is a refusal in words that the sender may read.
func refused(r *policy.Reply) error {
	return &delivery.Error{
		Op: delivery.OpRoute, Err: r.Cause, Permanent: r.Code >= 500,
		Reply: delivery.Reply{Enhanced: r.Enhanced, Text: r.Text},
	}
}

// Find says where the recipient of a report lives, and whether there is one.
// What cannot be known now is asked again when the report is delivered.
func (r *Routes) Find(ctx context.Context, to domains.Address) (Recipient, bool) {
	p, refusal := r.rules.Find(ctx, to)
	if refusal != nil {
		p = policy.Outward
	}
	rcpt := Recipient{To: to, Placement: p, Notify: spool.NotifyNever}
	return rcpt, refusal == nil || refusal.Code < 500
}
