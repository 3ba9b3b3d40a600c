package exchange

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/connector"
)

func (c *receive) limits() {
	l := &c.Limits
	c.size("MaxMessageSize", &l.MaxMessageBytes)
	c.size("MaxHeaderSize", &l.MaxHeaderBytes)
	c.count("MaxRecipientsPerMessage", &l.MaxRecipients, 512000, 0)
	c.count("MaxHopCount", &l.MaxHops, 500, 0)
	c.count("MaxLocalHopCount", &l.MaxLocalHops, -1, -1)
	c.count("MaxInboundConnection", &l.MaxConnections, -1, 0)
	c.count("MaxInboundConnectionPerSource", &l.MaxConnectionsPerSource, -1, 0)
	c.count("MaxInboundConnectionPercentagePerSource", &l.MaxConnectionsPercentPerSource, -1, 0)
	c.count("MessageRateLimit", &l.MessageRate, -1, 0)
	c.count("MaxProtocolErrors", &l.MaxProtocolErrors, -1, 1)
	c.count("MaxLogonFailures", &l.MaxLogonFailures, -1, -1)
	c.timeout("ConnectionTimeout", &l.ConnectionTimeout, 0)
	c.timeout("ConnectionInactivityTimeout", &l.InactivityTimeout, 0)
	c.timeout("TarpitInterval", &l.Tarpit, -1)
	c.timeout("AuthTarpitInterval", &l.AuthTarpit, -1)
	if w := c.o.choice(
		"MessageRateSource",
		map[string]string{"0": "None", "1": "IPAddress", "2": "User", "3": "All"},
	); w != "" {
		var err error
		if l.MessageRateBy, err = connector.ParseRateSource(w); err != nil {
			c.o.fault("MessageRateSource", "%w", err)
		}
	}
}

// size reads a limit in octets that cannot be switched off.
func (c *receive) size(name string, dst *int64) {
	a, ok := c.o.amount(name)
	switch {
	case !ok:
	case a.unlimited:
		*dst = math.MaxInt32
		c.o.note(name, "there is always a limit; set to the highest")
	default:
		if *dst = a.n; a.n == 0 {
			c.o.note(name, "0 stands for the default here")
		}
	}
}

// count reads a limit. unlimited is what stands for no limit, zero what
// Exchange means by 0; a zero of 0 is a value that Exchange does not have.
func (c *receive) count(name string, dst *int, unlimited, zero int) {
	a, ok := c.o.amount(name)
	switch {
	case !ok:
	case a.unlimited:
		if *dst = unlimited; unlimited > 0 {
			c.o.note(name, "there is always a limit; set to the highest")
		}
	case a.n > math.MaxInt32:
		c.o.fault(name, "%d is out of range", a.n)
	case a.n == 0:
		if *dst = zero; zero == 0 {
			c.o.note(name, "0 stands for the default here")
		} else if zero > 0 {
			c.o.note(name, "set to 1, the strictest there is")
		}
	default:
		*dst = int(a.n)
	}
}

func (c *receive) timeout(name string, dst *time.Duration, zero time.Duration) {
	d, ok := c.o.span(name)
	if !ok {
		return
	}
	if *dst = d; d == 0 {
		if *dst = zero; zero == 0 {
			c.o.note(name, "0 stands for the default here")
		}
	}
}

// role notes what only makes sense between a front end and the servers behind
// it.
func (c *receive) role() {
	const hub, number = "HubTransport", "32"
	v, _ := c.o.get("TransportRole")
	if role, _ := scalar(v); !strings.EqualFold(role, hub) && role != number {
		return
	}
	if slices.ContainsFunc(c.Bindings, func(b netip.AddrPort) bool { return b.Port() == 25 }) {
		c.o.r.note(
			c.o.label, "TransportRole", hub,
			"a connector on port 25 belongs to FrontendTransport; in Exchange two services "+
				"compete for the port",
		)
		return
	}
	c.o.r.note(
		c.o.label, "TransportRole", hub,
		"made for sessions that a front end passes on, which do not exist here; leave it out "+
			"unless clients connect to it",
	)
}
