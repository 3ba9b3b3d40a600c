package relay

import (
	"net/netip"

	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

// ownerOf tells for whom a delivery holds its place in the scheduler.
func ownerOf(l *spool.Lease) sched.Owner {
	m := &l.Message
	return sched.Owner{
		Connector: routing.ConnectorOf(l.Delivery.Key),
		Origin:    originOf(m),
		Report:    m.From == "" && m.Origin.Connector == "",
	}
}

// originOf is the user, or else the host, or with IPv6 its network, that a
// message came from. Each stream of the application's own is one origin.
func originOf(m *spool.Message) string {
	o := &m.Origin
	if o.User != "" {
		return o.User
	}
	if o.Remote == "" && m.From != "" {
		return "stream " + m.Stream
	}
	from, err := netip.ParseAddrPort(o.Remote)
	if err != nil {
		return o.Remote
	}
	return policy.Source(from.Addr().Unmap()).String()
}
