package routing

import (
	"errors"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

// The routes that name no send connector.
const (
	mailbox     = "mailbox"
	transport   = "transport"
	resolve     = "resolve"
	unreachable = "unreachable"
	tooLarge    = "toolarge"
)

// What stands before the name of a send connector.
const (
	send = "send/"
	mx   = "mx/"
)

// Local are the routes that end in this process, or nearly so: no stranger
// chooses where they lead.
func Local() []string { return []string{mailbox, transport} }

// ConnectorOf is the send connector that a key names; empty if it names none.
func ConnectorOf(k spool.Key) string {
	if name, ok := strings.CutPrefix(k.Route, send); ok {
		return name
	}
	if name, ok := strings.CutPrefix(k.Route, mx); ok {
		return name
	}
	return ""
}

// Describe returns a key for people, without its stream.
func Describe(k spool.Key) string {
	if name, ok := strings.CutPrefix(k.Route, mx); ok {
		return mx + k.Domain + "/" + name
	}
	return k.Route
}

// KeyOf says where a recipient's copy goes, in a key without a stream.
func (r *Routes) KeyOf(p policy.Placement, to domains.Address, size int64) spool.Key {
	switch {
	case p == policy.InMailbox && r.mailboxes != nil:
		return spool.Key{Route: mailbox}
	case p == policy.Unresolved || p == policy.Unknown:
		return spool.Key{Route: resolve}
	case r.transport != nil:
		return spool.Key{Route: transport}
	}
	route, err := r.send.Select(to.Domain(), size)
	switch {
	case errors.Is(err, connector.ErrTooLarge):
		return spool.Key{Route: tooLarge}
	case err != nil:
		return spool.Key{Route: unreachable}
	}
	h := r.hops[route.Connector.Name]
	if h.isMX() {
		return spool.Key{Route: h.route, Domain: to.Domain()}
	}
	return spool.Key{Route: h.route}
}

// hopOf returns the send connector that a key names; nil if it names none, or
// the configuration has changed since.
func (r *Routes) hopOf(k spool.Key) *hop {
	h := r.hops[ConnectorOf(k)]
	if h == nil || (k.Domain != "") != h.isMX() {
		return nil
	}
	return h
}
