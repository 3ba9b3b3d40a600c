package relay

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

// A route names where a delivery goes. It is stored with the delivery, so it
// names the configuration and does not point at it: a later process, or a relay
// with another configuration, looks it up again.
//
//	mailbox          Config.Mailboxes
//	transport        Config.Transport
//	send/NAME        the smart hosts or the transport of a send connector
//	mx/NAME          the MX of the domain, by the settings of a send connector
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

// routeOf names the route of a recipient, in a key without a stream.
func (p *routes) routeOf(t policy.Placement, to domains.Address, size int64) spool.Key {
	switch {
	case t == policy.InMailbox && p.mailboxes != nil:
		return spool.Key{Route: routeMailbox}
	case t == policy.Unresolved || t == policy.Unknown:
		return spool.Key{Route: routeResolve}
	case p.transport != nil:
		return spool.Key{Route: routeTransport}
	}
	r, err := p.send.Select(to.Domain(), size)
	switch {
	case errors.Is(err, connector.ErrTooLarge):
		return spool.Key{Route: routeTooLarge}
	case err != nil:
		return spool.Key{Route: routeUnreachable}
	}
	if p.hops[r.Connector.Name].isMX() {
		return spool.Key{Route: routeMX + r.Connector.Name, Domain: to.Domain()}
	}
	return spool.Key{Route: routeSend + r.Connector.Name}
}

// describe is a key as [Explanation] shows it.
func describe(k spool.Key) string {
	if name, ok := strings.CutPrefix(k.Route, routeMX); ok {
		return routeMX + k.Domain + "/" + name
	}
	return k.Route
}

// sender returns the send connector that a route names.
func (p *routes) sender(k spool.Key) *hop {
	h := p.hops[connectorOf(k.Route)]
	if h == nil || (k.Domain != "") != h.isMX() {
		return nil // the configuration has changed since
	}
	return h
}

// limit bounds the deliveries under way on one route.
func (p *routes) limit(k spool.Key) int {
	if h := p.sender(k); h != nil && h.transport == nil {
		return p.lent.client.Limit(h.to(k.Domain))
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
		Connector: connectorOf(l.Delivery.Key.Route),
		Origin:    originOf(&m.Origin),
		Report:    m.From == "" && m.Origin.Connector == "",
	}
}

// connectorOf is the send connector that a route names; empty if it names none.
func connectorOf(route string) string {
	if name, ok := strings.CutPrefix(route, routeSend); ok {
		return name
	}
	name, _ := strings.CutPrefix(route, routeMX)
	if name == route {
		return ""
	}
	return name
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
	return policy.Source(from.Addr().Unmap()).String()
}

// recipient is one recipient on its way into the queue.
type recipient struct {
	to       domains.Address
	target   policy.Placement
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

// deliveries groups the recipients by key.
func (p *snapshot) deliveries(
	rcpts []recipient, stream string, size int64, now time.Time,
) []spool.Delivery {
	list := make([]spool.Delivery, 0, 1)
	for i := range rcpts {
		r := &rcpts[i]
		k := p.routes.routeOf(r.target, r.to, size)
		k.Stream = stream
		d := deliveryOf(&list, k)
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

// deliveryOf returns the list's delivery for a key, made if missing. Lists are
// short: most messages have one key.
func deliveryOf(list *[]spool.Delivery, k spool.Key) *spool.Delivery {
	for i := range *list {
		if (*list)[i].Key == k {
			return &(*list)[i]
		}
	}
	*list = append(*list, spool.Delivery{Key: k})
	return &(*list)[len(*list)-1]
}
