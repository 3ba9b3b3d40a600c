// Package httppeer tells which client an HTTP request comes from, directly or
// by way of proxies.
package httppeer

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
)

var (
	// ErrAddress tells that the server has given the request no address.
	ErrAddress = errors.New("the request has no remote address")
	// ErrForwarded tells of a forwarded request that is not a known proxy's, or
	// does not say all that is needed.
	ErrForwarded = errors.New(
		"list the proxy in Proxies, and let it set X-Forwarded-For and X-Forwarded-Proto",
	)
	// ErrNotForwarded tells of a known proxy's request that names no client.
	ErrNotForwarded = errors.New("let the proxy set X-Forwarded-For and X-Forwarded-Proto")
)

// Of tells where a request comes from. X-Forwarded-For and X-Forwarded-Proto
// are believed from proxies only; from anybody else they are an error, so that
// a proxy that has been forgotten does not lend its address to its clients.
// Where the proxies must name a client, a request of theirs without is one too.
func Of(r *http.Request, proxies []connector.Range, must bool) (relay.Peer, error) {
	p := relay.Peer{Protocol: "HTTP", TLS: r.TLS}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return p, ErrAddress
	}
	p.Remote = netip.AddrPortFrom(remote.Addr().Unmap().WithZone(""), remote.Port())
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(interface{ String() string }); ok {
		p.Local, _ = netip.ParseAddrPort(local.String())
	}
	chain := r.Header.Values("X-Forwarded-For")
	proto := r.Header.Values("X-Forwarded-Proto")
	if len(chain)+len(proto)+len(r.Header.Values("Forwarded")) > 0 {
		client, ok := forwarded(p.Remote.Addr(), chain, proxies)
		if !ok || len(proto) != 1 {
			return p, ErrForwarded
		}
		p.Proxy, p.ProxyTLS = p.Remote, p.TLS != nil
		p.Remote, p.TLS = netip.AddrPortFrom(client, 0), nil
		if strings.EqualFold(proto[0], "https") {
			// The certificate on the connection to the proxy is not the
			// client's.
			p.TLS = &tls.ConnectionState{}
		}
	} else if must && known(p.Remote.Addr(), proxies) {
		return p, ErrNotForwarded
	}
	if p.TLS != nil {
		p.Protocol = "HTTPS"
	}
	return p, nil
}

// InClear reports whether what the peer sends can be read on the way: between
// it and its proxy, or between that and this host.
func InClear(p relay.Peer) bool {
	return p.TLS == nil && !p.Remote.Addr().IsLoopback() ||
		p.Proxy.IsValid() && !p.ProxyTLS && !p.Proxy.Addr().IsLoopback()
}

// forwarded returns the last address in the chain that is not a known proxy's,
// or the first if all are.
func forwarded(remote netip.Addr, chain []string, proxies []connector.Range) (netip.Addr, bool) {
	if !known(remote, proxies) {
		return remote, false
	}
	hops := strings.Split(strings.Join(chain, ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, err := address(strings.TrimSpace(hop))
		if err != nil {
			return remote, false
		}
		if remote = a.Unmap().WithZone(""); !known(remote, proxies) {
			break
		}
	}
	return remote, true
}

// address reads an address, which some proxies write with a port.
func address(s string) (netip.Addr, error) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr(), nil
	}
	return netip.ParseAddr(s)
}

func known(a netip.Addr, proxies []connector.Range) bool {
	return slices.ContainsFunc(proxies, func(p connector.Range) bool { return p.Contains(a) })
}
