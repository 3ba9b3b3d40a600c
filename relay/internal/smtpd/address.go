package smtpd

import (
	"net"
	"net/netip"

	"github.com/postern-mail/postern/connector"
)

// addrPort returns the address of one side of a connection, an IPv4 address as
// such.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	if t, ok := a.(*net.TCPAddr); ok {
		ap = t.AddrPort()
	} else if a != nil {
		ap, _ = netip.ParseAddrPort(a.String())
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// isHost reports whether a connection can come from the address.
func isHost(a netip.Addr) bool { return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() }

func contains(list []connector.Range, a netip.Addr) bool {
	for i := range list {
		if list[i].Contains(a) {
			return true
		}
	}
	return false
}

// find returns the connector for a client. One that speaks TLS from the
// first byte is of no use where TLS is not offered, or on a connection
// that has begun without.
func (s *Settings) find(local, remote netip.AddrPort, begun bool) (*connector.Connector, bool) {
	con, ok := s.Connectors.Match(local, remote.Addr())
	return con, ok && !(con.ImplicitTLS && (s.TLS == nil || begun))
}
