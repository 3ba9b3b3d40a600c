package relay

import (
	"fmt"
	"strings"
)

// NATGuard says what to do about a crowd behind one address.
//
// A router, a load balancer or a container bridge that rewrites source
// addresses makes all its clients look like itself. A connector that lets that
// address relay, as a part of the local network for example, lets everybody
// relay. The guard watches the default gateways of the host (on Linux), and
// those of Config.Proxies and Config.XClient that do not say for whom they
// speak. When clients from such an address that may relay without logging on
// say five different names in HELO within an hour, there is a crowd.
type NATGuard uint8

const (
	// NATWarn writes a warning to the log, once an hour for each address.
	NATWarn NATGuard = iota
	// NATRefuse also refuses the address, on connectors where it could
	// relay, until the names have become fewer.
	NATRefuse
	// NATOff does nothing.
	NATOff
)

var guardNames = [...]string{"warn", "refuse", "off"}

// String returns "warn", "refuse" or "off".
func (g NATGuard) String() string {
	if int(g) < len(guardNames) {
		return guardNames[g]
	}
	return fmt.Sprintf("NATGuard(%d)", uint8(g))
}

// MarshalText returns the word that UnmarshalText reads.
func (g NATGuard) MarshalText() ([]byte, error) {
	if int(g) >= len(guardNames) {
		return nil, fmt.Errorf("relay: %d is no NAT guard", uint8(g))
	}
	return []byte(guardNames[g]), nil
}

// UnmarshalText reads "warn", "refuse" or "off", in any case.
func (g *NATGuard) UnmarshalText(b []byte) error {
	for i, n := range guardNames {
		if strings.EqualFold(n, string(b)) {
			*g = NATGuard(i)
			return nil
		}
	}
	return fmt.Errorf(
		"relay: unknown NAT guard %q; valid are %s", b, strings.Join(guardNames[:], ", "),
	)
}
