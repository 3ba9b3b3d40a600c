package policy

import (
	"context"
	"log/slog"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/logkey"
)

// Placement says where a recipient's copy goes.
type Placement uint8

// The placements.
const (
	Outward    Placement = iota // to a send connector or the application's transport
	InMailbox                   // to the application's mailboxes
	Unresolved                  // to be looked up when the message has arrived
	Unknown                     // looked up since, and found not to exist
)

// DecideRcpt decides on RCPT TO: accepted domain or the right to relay, and
// whether the recipient exists. Unknown recipients are refused only in
// authoritative domains (design, I4).
func (p *Rules) DecideRcpt(
	ctx context.Context, c Client, to domains.Address,
) (Placement, *Reply) {
	d, accepted := p.Table.Lookup(to.Domain())
	if !accepted && !c.Rights.Has(connector.AcceptAnyRecipient) {
		return Outward, p.unableToRelay
	}
	return p.findIn(ctx, d, to)
}

// Find says where an address lives, whoever writes to it.
func (p *Rules) Find(ctx context.Context, to domains.Address) (Placement, *Reply) {
	d, _ := p.Table.Lookup(to.Domain())
	return p.findIn(ctx, d, to)
}

// FindNow is Find at an attempt: what may be asked later is asked now.
func (p *Rules) FindNow(ctx context.Context, to domains.Address) (Placement, *Reply) {
	d, _ := p.Table.Lookup(to.Domain())
	if d == nil || d.Recipients == nil {
		return Outward, nil
	}
	return p.lookup(ctx, d, to)
}

// findIn is Find in a domain; nil for one that is not accepted.
func (p *Rules) findIn(
	ctx context.Context, d *domains.AcceptedDomain, to domains.Address,
) (Placement, *Reply) {
	switch {
	case d == nil, d.Recipients == nil:
		return Outward, nil
	case d.SkipLookup:
		return Unresolved, nil
	}
	return p.lookup(ctx, d, to)
}

// lookup asks whether a recipient of an accepted domain exists.
func (p *Rules) lookup(
	ctx context.Context, d *domains.AcceptedDomain, to domains.Address,
) (Placement, *Reply) {
	known, err := p.resolve(ctx, d, to)
	switch {
	case err != nil:
		return Outward, LookupFailed.Because(err)
	case known, to.IsPostmaster() && d.Type == domains.Authoritative: // RFC 5321 section 4.5.1
		return InMailbox, nil
	case d.Type == domains.Authoritative:
		return Outward, p.unknownUser
	default:
		return Outward, nil
	}
}

// resolve asks whether a recipient exists.
func (p *Rules) resolve(
	ctx context.Context, d *domains.AcceptedDomain, to domains.Address,
) (bool, error) {
	switch d.Recipients.(type) {
	case *domains.RecipientsFile, interface{ InMemory() }:
		return d.Recipients.Resolve(ctx, to)
	}
	return p.resolveApart(ctx, d.Recipients, to)
}

func (p *Rules) resolveApart(
	ctx context.Context, r domains.Resolver, to domains.Address,
) (bool, error) {
	return Ask(ctx, p.Recipients, "Recipients", slog.String(logkey.To, to.String()),
		func(ctx context.Context) (bool, error) { return r.Resolve(ctx, to) })
}
