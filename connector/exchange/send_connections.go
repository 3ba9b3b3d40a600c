package exchange

import (
	"fmt"
	"math"
	"net/netip"
	"time"
)

// connections reads how connections are made, and when they end.
func (c *send) connections() {
	if a, ok := c.o.amount("SmtpMaxMessagesPerConnection"); ok {
		switch {
		case a.unlimited:
			c.MessagesPerConnection = -1
		case a.n > math.MaxInt32:
			c.o.fault("SmtpMaxMessagesPerConnection", "%d is out of range", a.n)
		default:
			if c.MessagesPerConnection = int(a.n); a.n == 0 {
				c.o.note(
					"SmtpMaxMessagesPerConnection",
					fmt.Sprintf(
						"0 stands for the default here, %d", c.WithDefaults().MessagesPerConnection,
					),
				)
			}
		}
	}
	// The default of Exchange bounds every wait of a session, this one only the
	// time between messages: so it is left to the default here.
	const name, usual = "ConnectionInactivityTimeOut", 10 * time.Minute
	if d, ok := c.o.span(name); ok && d != usual {
		c.IdleTimeout = d
	}
	c.source()
}

// source reads the address that connections are made from.
func (c *send) source() {
	const name = "SourceIPAddress"
	text := c.o.text(name, "IPAddressToString")
	if text == "" {
		return
	}
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		c.o.fault(name, "%q is not an IP address", text)
	case !a.IsUnspecified():
		c.SourceAddress = a.Unmap()
	}
}
