package relay

import (
	"context"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/spool"
)

// client is what a decision rests on: everything else is configuration (design,
// I5).
type client struct {
	connector *connector.Connector // nil for the application itself
	rights    connector.Right
	identity  *auth.Identity // nil for anonymous clients
	tls       bool
}

// stranger reports whether the client is neither the application nor a user nor
// a host that may relay: what it claims to be may be forged.
func (c client) stranger() bool {
	return c.identity == nil && !c.rights.Has(connector.AcceptAnyRecipient)
}

// vouches reports whether the client's word on what was verified counts: that
// of the application, of a server of the organization and of a host that may
// relay, not that of a user or of a stranger.
func (c client) vouches() bool {
	return c.rights.Has(connector.AcceptHeadersOrganization) ||
		c.identity == nil && c.rights.Has(connector.AcceptAnyRecipient)
}

// allRights is what the application itself may do.
const allRights = ^connector.Right(0)

// decideMail decides on MAIL FROM: transport security, the right to submit,
// and the right to use the sender.
func (p *rules) decideMail(c client, from domains.Address) *smtpd.Reply {
	if c.connector != nil {
		if r := smtpd.DecideTLS(c.connector, c.tls); r != nil {
			return r
		}
	}
	switch {
	case c.rights.Has(connector.Submit):
		return p.decideSender(c, from)
	case c.identity != nil:
		return replyMayNotSubmit()
	default:
		return replyNotAuthenticated()
	}
}

// decideSender decides whether the client may use an address as the sender.
//
// A client with AcceptAnySender may use any address, but one in an
// authoritative domain only with AcceptAuthoritativeDomainSender as well. An
// authenticated client without it may use the addresses its identity owns. The
// null reverse-path belongs to everybody: reports use it.
func (p *rules) decideSender(c client, from domains.Address) *smtpd.Reply {
	if from.IsNull() {
		return nil
	}
	if c.identity != nil && owns(c.identity, from) {
		return nil
	}
	d, accepted := p.table.Lookup(from.Domain())
	authoritative := accepted && d.Type == domains.Authoritative
	needed := connector.AcceptAnySender
	if authoritative {
		needed |= connector.AcceptAuthoritativeDomainSender
	}
	if c.identity == nil && accepted {
		needed &^= connector.AcceptAnySender // an accepted domain is no stranger's
	}
	switch lacking := needed &^ c.rights; {
	case lacking == 0:
		return nil
	case c.identity != nil:
		return replyClientSender(lacking)
	default:
		return replyAnonymousSender(lacking)
	}
}

// owns reports whether the identity has the address among its own. One with
// empty atoms (a..b@example.com) stands there as people write it, or in the
// quotes of its key.
func owns(id *auth.Identity, a domains.Address) bool {
	return id.MaySendAs(a.Key()) || id.MaySendAs(a.Local()+"@"+a.Domain())
}

// target says where a recipient's copy goes.
type target uint8

const (
	outward    target = iota // to a send connector or the application's transport
	inMailbox                // to Config.Mailboxes
	unresolved               // to be looked up when the message has arrived
	unknown                  // looked up since, and found not to exist
)

// decideRcpt decides on RCPT TO: accepted domain or the right to relay, and
// whether the recipient exists. Unknown recipients are refused only in
// authoritative domains (design, I4).
func (p *rules) decideRcpt(
	ctx context.Context, c client, to domains.Address,
) (target, *smtpd.Reply) {
	d, accepted := p.table.Lookup(to.Domain())
	if !accepted && !c.rights.Has(connector.AcceptAnyRecipient) {
		return outward, p.unableToRelay
	}
	return p.findIn(ctx, d, to)
}

// find says where an address lives, whoever writes to it.
func (p *rules) find(ctx context.Context, to domains.Address) (target, *smtpd.Reply) {
	d, _ := p.table.Lookup(to.Domain())
	return p.findIn(ctx, d, to)
}

// findNow is find at an attempt: what may be asked later is asked now.
func (p *rules) findNow(ctx context.Context, to domains.Address) (target, *smtpd.Reply) {
	d, _ := p.table.Lookup(to.Domain())
	if d == nil || d.Recipients == nil {
		return outward, nil
	}
	return p.lookup(ctx, d, to)
}

// findIn is find in a domain; nil for one that is not accepted.
func (p *rules) findIn(
	ctx context.Context, d *domains.AcceptedDomain, to domains.Address,
) (target, *smtpd.Reply) {
	switch {
	case d == nil, d.Recipients == nil:
		return outward, nil
	case d.SkipLookup:
		return unresolved, nil
	}
	return p.lookup(ctx, d, to)
}

// lookup asks whether a recipient of an accepted domain exists.
func (p *rules) lookup(
	ctx context.Context, d *domains.AcceptedDomain, to domains.Address,
) (target, *smtpd.Reply) {
	known, err := p.resolve(ctx, d, to)
	switch {
	case err != nil:
		return outward, replyLookupFailed(err)
	case known, to.IsPostmaster() && d.Type == domains.Authoritative: // RFC 5321 section 4.5.1
		return inMailbox, nil
	case d.Type == domains.Authoritative:
		return outward, p.unknownUser
	default:
		return outward, nil
	}
}

// resolveLate looks up the recipients that RCPT took without asking. It refuses
// the message if no recipient of it exists, so that the client, and nobody
// whose address it has forged, is told. What cannot be known now is asked again
// at delivery.
func (p *rules) resolveLate(ctx context.Context, c client, rcpts []recipient) *smtpd.Reply {
	missing := 0
	for i := range rcpts {
		r := &rcpts[i]
		if r.target != unresolved {
			continue
		}
		d, _ := p.table.Lookup(r.to.Domain())
		t, refusal := p.lookup(ctx, d, r.to)
		switch {
		case refusal == nil:
			r.target = t
		case refusal.Code >= 500:
			r.target = unknown
			missing++
			if c.stranger() {
				r.notify = spool.NotifyNever // a report would go to a stranger's claim
			}
		}
	}
	if missing > 0 && missing == len(rcpts) {
		return p.unknownUser
	}
	return nil
}
