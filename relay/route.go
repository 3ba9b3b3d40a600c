package relay

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/spool"
)

// A route names where a delivery goes. It is stored with the delivery, so it
// names the configuration and does not point at it: a later process, or a relay
// with another configuration, looks it up again.
//
//	mailbox          Config.Mailboxes
//	transport        Config.Transport
//	send/NAME        the smart hosts or the transport of a send connector
//	mx/DOMAIN/NAME   the MX of a domain, by the settings of a send connector
//	resolve          whether the recipient exists is asked at the attempt
//	unreachable      no send connector matched
//	toolarge         those that matched take no message of this size
const (
	routeMailbox     = "mailbox"
	routeTransport   = "transport"
	routeResolve     = "resolve"
	routeUnreachable = "unreachable"
	routeTooLarge    = "toolarge"
	routeSend        = "send/"
	routeMX          = "mx/"
)

// routeOf names the route of a recipient.
func (p *routes) routeOf(t target, to domains.Address, size int64) string {
	switch {
	case t == inMailbox && p.mailboxes != nil:
		return routeMailbox
	case t == unresolved || t == unknown:
		return routeResolve
	case p.transport != nil:
		return routeTransport
	}
	r, err := p.send.Select(to.Domain(), size)
	switch {
	case errors.Is(err, connector.ErrTooLarge):
		return routeTooLarge
	case err != nil:
		return routeUnreachable
	case p.hops[r.Connector.Name].isMX():
		return routeMX + to.Domain() + "/" + r.Connector.Name
	default:
		return routeSend + r.Connector.Name
	}
}

// sender returns the send connector that a route names and, for MX delivery,
// the domain.
func (p *routes) sender(route string) (h *hop, domain string) {
	name, ok := strings.CutPrefix(route, routeSend)
	if !ok {
		rest, ok := strings.CutPrefix(route, routeMX)
		if !ok {
			return nil, ""
		}
		domain, name, _ = strings.Cut(rest, "/")
	}
	h = p.hops[name]
	if h == nil || (domain != "") != h.isMX() {
		return nil, "" // the configuration has changed since
	}
	return h, domain
}

// limit bounds the deliveries under way on one route.
func (p *routes) limit(route string) int {
	if h, domain := p.sender(route); h != nil && h.transport == nil {
		return p.lent.client.Limit(h.to(domain))
	}
	return defaultRouteLimit
}

const defaultRouteLimit = 20

// localRoutes are those that end in this process, or nearly so: no stranger
// chooses where they lead.
func localRoutes() []string { return []string{routeMailbox, routeTransport} }

// ownerOf tells for whom a delivery holds its place in the scheduler.
func ownerOf(l *spool.Lease) sched.Owner {
	m := &l.Message
	return sched.Owner{
		Connector: connectorOf(l.Delivery.Route),
		Origin:    originOf(&m.Origin),
		Report:    m.From == "" && m.Origin.Connector == "",
	}
}

// connectorOf is the send connector that a route names; empty if it names none.
func connectorOf(route string) string {
	if name, ok := strings.CutPrefix(route, routeSend); ok {
		return name
	}
	if rest, ok := strings.CutPrefix(route, routeMX); ok {
		_, name, _ := strings.Cut(rest, "/")
		return name
	}
	return ""
}

// originOf is the user, or else the host, or with IPv6 its network, that a
// message came from. The application itself is one origin.
func originOf(o *spool.Origin) string {
	if o.User != "" {
		return o.User
	}
	from, err := netip.ParseAddrPort(o.Remote)
	if err != nil {
		return o.Remote
	}
	return smtpd.Source(from.Addr().Unmap()).String()
}

// recipient is one recipient on its way into the queue.
type recipient struct {
	to       domains.Address
	target   target
	notify   spool.Notify
	delayed  bool // as in spool.Recipient
	original string
}

// distinct merges the recipients that are named more than once, in whatever
// spelling: each gets one copy. The case of the local part does not count, as
// in Postfix.
func distinct(rcpts []recipient) []recipient {
	if len(rcpts) < 2 {
		return rcpts
	}
	seen := make(map[string]int, len(rcpts))
	list := rcpts[:0]
	for _, r := range rcpts {
		key := strings.ToLower(r.to.Key())
		if i, ok := seen[key]; ok {
			list[i].merge(r)
			continue
		}
		seen[key] = len(list)
		list = append(list, r)
	}
	return list
}

// merge adds what was asked for where the recipient was named again: all that
// was asked to be told of, and the first ORCPT.
func (r *recipient) merge(again recipient) {
	r.notify = both(r.notify, again.notify)
	if r.original == "" {
		r.original = again.original
	}
}

// both returns what two NOTIFY parameters ask for together. NEVER asks for
// nothing.
func both(a, b spool.Notify) spool.Notify {
	const unasked = spool.NotifyFailure | spool.NotifyDelay
	switch {
	case a == b || b == spool.NotifyNever:
		return a
	case a == spool.NotifyNever:
		return b
	case a == 0:
		a = unasked
	case b == 0:
		b = unasked
	}
	return a | b
}

// distrust sees that no report goes to a stranger's claim but one that is owed:
// of failure, and of delay to whom asks for it.
func (r *recipient) distrust() {
	r.delayed = r.notify == 0
	if r.notify == spool.NotifySuccess {
		r.notify = spool.NotifyNever
	}
	r.notify &^= spool.NotifySuccess
}

// deliveries groups the recipients by route.
func (p *snapshot) deliveries(rcpts []recipient, size int64, now time.Time) []spool.Delivery {
	list := make([]spool.Delivery, 0, 1)
	for i := range rcpts {
		r := &rcpts[i]
		route := p.routes.routeOf(r.target, r.to, size)
		d := deliveryOf(&list, route)
		if d.Recipients == nil {
			d.Due, d.Expires = now, now.Add(p.retry.Expires)
			d.Recipients = make([]spool.Recipient, 0, len(rcpts)-i)
		}
		d.Recipients = append(d.Recipients, spool.Recipient{
			Address: r.to.String(), Notify: r.notify, Delayed: r.delayed, Original: r.original,
		})
	}
	return list
}

// deliveryOf returns the list's delivery for a route, made if missing. Lists
// are short: most messages have one route.
func deliveryOf(list *[]spool.Delivery, route string) *spool.Delivery {
	for i := range *list {
		if (*list)[i].Route == route {
			return &(*list)[i]
		}
	}
	*list = append(*list, spool.Delivery{Route: route})
	return &(*list)[len(*list)-1]
}
