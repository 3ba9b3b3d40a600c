package policy

import (
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
)

// DecideMail decides on MAIL FROM: transport security, the right to submit,
// and the right to use the sender.
func (p *Rules) DecideMail(c Client, from domains.Address) *Reply {
	if c.Connector != nil {
		if r := DecideTLS(c.Connector, c.TLS); r != nil {
			return r
		}
	}
	switch {
	case c.Rights.Has(connector.Submit):
		return p.DecideSender(c, from)
	case c.Identity != nil:
		return MayNotSubmit.Missing(connector.Submit)
	default:
		return NotAuthenticated.Missing(connector.Submit)
	}
}

// DecideSender decides whether the client may use an address as the sender.
//
// A client with AcceptAnySender may use any address, but one in an
// authoritative domain only with AcceptAuthoritativeDomainSender as well. An
// authenticated client without it may use the addresses its identity owns. The
// null reverse-path belongs to everybody: reports use it.
func (p *Rules) DecideSender(c Client, from domains.Address) *Reply {
	if from.IsNull() {
		return nil
	}
	if c.Identity != nil && owns(c.Identity, from) {
		return nil
	}
	d, accepted := p.Table.Lookup(from.Domain())
	authoritative := accepted && d.Type == domains.Authoritative
	needed := connector.AcceptAnySender
	if authoritative {
		needed |= connector.AcceptAuthoritativeDomainSender
	}
	if c.Identity == nil && accepted {
		needed &^= connector.AcceptAnySender // an accepted domain is no stranger's
	}
	switch lacking := needed &^ c.Rights; {
	case lacking == 0:
		return nil
	case c.Identity != nil:
		return ClientSender.Missing(lacking)
	default:
		return AnonymousSender.Missing(lacking)
	}
}

// owns reports whether the identity has the address among its own. One with
// empty atoms (a..b@example.com) stands there as people write it, or in the
// quotes of its key.
func owns(id *auth.Identity, a domains.Address) bool {
	return id.MaySendAs(a.Key()) || id.MaySendAs(a.Local()+"@"+a.Domain())
}
