package routing

import (
	"net/netip"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

// Config is what Routes are made of. It is the caller's to check.
type Config struct {
	// Mailboxes and Transport are the application's; nil for none.
	Mailboxes, Transport delivery.Transport
	// SendSet is of SendConnectors, of which those may name one of Transports.
	SendSet        *connector.SendSet
	SendConnectors []*connector.SendConnector
	Transports     map[string]delivery.Transport
	// Client makes the transactions.
	Client *outbound.Client
	// Rules know which recipients exist.
	Rules *policy.Rules
	// Signer signs again what has to be converted for a next hop.
	Signer Signer
}

// Routes say where a copy goes. They do not change.
type Routes struct {
	sender    *sender
	rules     *policy.Rules
	send      *connector.SendSet
	hops      map[string]*hop // by name of the send connector
	mailboxes delivery.Transport
	transport delivery.Transport
}

// hop is a send connector made ready.
type hop struct {
	route     string
	next      *connector.NextHop
	transport delivery.Transport // in the place of next
}

// New returns the routes of a configuration.
func New(cfg Config) *Routes {
	r := &Routes{
		sender: &sender{client: cfg.Client, signer: cfg.Signer},
		rules:  cfg.Rules, send: cfg.SendSet, hops: make(map[string]*hop),
		mailboxes: cfg.Mailboxes, transport: cfg.Transport,
	}
	for _, c := range cfg.SendConnectors {
		if c != nil {
			r.hops[c.Name] = r.hopFor(c, cfg.Transports[c.Transport])
		}
	}
	return r
}

func (r *Routes) hopFor(c *connector.SendConnector, t delivery.Transport) *hop {
	next := c.NextHop
	h := &hop{next: &next, transport: t}
	h.route = send + c.Name
	if h.isMX() {
		h.route = mx + c.Name
	}
	return h
}

// isMX reports whether a copy goes to the exchangers of its domain.
func (h *hop) isMX() bool { return h.transport == nil && len(h.next.Hosts) == 0 }

const defaultLimit = 20

// Serves reports whether a key leads somewhere here. Mail that matched no send
// connector is for whoever has one for all domains.
func (r *Routes) Serves(k spool.Key) bool {
	switch k.Route {
	case mailbox:
		return r.mailboxes != nil
	case transport:
		return r.transport != nil
	case unreachable, tooLarge:
		return r.sendsAll()
	case resolve:
		return true
	}
	return r.hopOf(k) != nil
}

// Remote reports whether a key leads to the relay's own client, so that what is
// said to an attempt was said by a remote host.
func (r *Routes) Remote(k spool.Key) bool {
	h := r.hopOf(k)
	return h != nil && h.transport == nil
}

// Source is the local address that a key's connections are made from; not valid
// for the system's choice.
func (r *Routes) Source(k spool.Key) netip.Addr {
	if h := r.hopOf(k); h != nil {
		return h.next.SourceAddress
	}
	return netip.Addr{}
}

// sendsAll reports whether mail to any domain leaves from here.
func (r *Routes) sendsAll() bool {
	_, err := r.send.Select("any.invalid", 0)
	return r.transport != nil || err == nil
}

// Served are the routes of all keys that lead somewhere here, and may not
// elsewhere.
func (r *Routes) Served() []string {
	var list []string
	if r.mailboxes != nil {
		list = append(list, mailbox)
	}
	if r.transport != nil {
		list = append(list, transport)
	}
	if r.sendsAll() {
		list = append(list, unreachable, tooLarge)
	}
	for _, h := range r.hops {
		list = append(list, h.route)
	}
	return list
}

// Limit bounds the deliveries under way at once by one key.
func (r *Routes) Limit(k spool.Key) int {
	switch h := r.hopOf(k); {
	case h == nil:
		return defaultLimit
	case h.transport != nil:
		return r.sender.client.Part(defaultLimit)
	default:
		return r.sender.client.Limit(h.next, k.Domain)
	}
}

// Connections counts those open to where some keys lead.
func (r *Routes) Connections(keys []spool.Key) (open int) {
	domains := make(map[*hop][]string)
	for _, k := range keys {
		if h := r.hopOf(k); h != nil && h.transport == nil {
			domains[h] = append(domains[h], k.Domain)
		}
	}
	for h, list := range domains {
		open += r.sender.client.Connections(h.next, list)
	}
	return open
}
