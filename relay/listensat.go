package relay

import (
	"net"
	"net/netip"
	"slices"
)

// listensAt reports whether a connector is bound to an address.
func (p *rules) listensAt(a netip.AddrPort) bool {
	for _, c := range p.connectors {
		for _, b := range c.Bindings {
			if b.Port() == a.Port() && covers(b.Addr().Unmap(), a.Addr()) {
				return true
			}
		}
	}
	return false
}

// covers reports whether a binding takes connections to an address of this
// host.
func covers(binding, a netip.Addr) bool {
	if !binding.IsUnspecified() || binding.Is4() && !a.Is4() {
		return binding == a
	}
	return a.IsLoopback() || isLocal(a)
}

// isLocal reports whether an interface of this host has an address.
func isLocal(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(list, func(i net.Addr) bool {
		n, ok := i.(*net.IPNet)
		return ok && n.IP.Equal(net.IP(a.AsSlice()))
	})
}
