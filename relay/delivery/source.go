package delivery

import (
	"context"
	"net/netip"
)

type sourceKey struct{}

// WithSourceAddress returns a context for a dial from a local address. The
// relay gives it to its Config.Dial where a next hop has a SourceAddress.
func WithSourceAddress(ctx context.Context, a netip.Addr) context.Context {
	return context.WithValue(ctx, sourceKey{}, a)
}

// SourceAddress returns the local address that a connection is to be made from.
// It is not valid where that is the choice of the system. A Dial of the
// application's that does not heed it fails where a next hop has a
// SourceAddress: nothing leaves from another one.
func SourceAddress(ctx context.Context) netip.Addr {
	a, _ := ctx.Value(sourceKey{}).(netip.Addr)
	return a
}
