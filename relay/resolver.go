package relay

import (
	"context"
	"log/slog"
	"net"
	"net/netip"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// boundResolver asks an application's Resolver.
type boundResolver struct {
	calls *policy.Calls
	of    delivery.Resolver
}

// LookupMX implements [delivery.Resolver].
func (r boundResolver) LookupMX(
	ctx context.Context, domain string,
) (delivery.Answer[*net.MX], error) {
	return resolved(ctx, r, domain, func(ctx context.Context) (delivery.Answer[*net.MX], error) {
		return r.of.LookupMX(ctx, domain)
	})
}

// LookupNetIP implements [delivery.Resolver].
func (r boundResolver) LookupNetIP(
	ctx context.Context, network, host string,
) (delivery.Answer[netip.Addr], error) {
	return resolved(ctx, r, host, func(ctx context.Context) (delivery.Answer[netip.Addr], error) {
		return r.of.LookupNetIP(ctx, network, host)
	})
}

// LookupHost asks a Resolver that knows of a search list as it wants to be.
func (r boundResolver) LookupHost(
	ctx context.Context, host string,
) (delivery.Answer[netip.Addr], error) {
	of, ok := r.of.(interface {
		LookupHost(ctx context.Context, host string) (delivery.Answer[netip.Addr], error)
	})
	if !ok {
		return r.LookupNetIP(ctx, "ip", host)
	}
	return resolved(ctx, r, host, func(ctx context.Context) (delivery.Answer[netip.Addr], error) {
		return of.LookupHost(ctx, host)
	})
}

// LookupTXT implements [delivery.Resolver].
func (r boundResolver) LookupTXT(
	ctx context.Context, name string,
) (delivery.Answer[string], error) {
	return resolved(ctx, r, name, func(ctx context.Context) (delivery.Answer[string], error) {
		return r.of.LookupTXT(ctx, name)
	})
}

// LookupTLSA implements [delivery.Resolver].
func (r boundResolver) LookupTLSA(
	ctx context.Context, name string,
) (delivery.Answer[delivery.TLSA], error) {
	return resolved(ctx, r, name, func(ctx context.Context) (
		delivery.Answer[delivery.TLSA], error,
	) {
		return r.of.LookupTLSA(ctx, name)
	})
}

// LookupPTR implements [delivery.Resolver].
func (r boundResolver) LookupPTR(
	ctx context.Context, addr netip.Addr,
) (delivery.Answer[string], error) {
	return resolved(ctx, r, addr.String(),
		func(ctx context.Context) (delivery.Answer[string], error) {
			return r.of.LookupPTR(ctx, addr)
		})
}

func resolved[T any](
	ctx context.Context, r boundResolver, name string,
	f func(context.Context) (delivery.Answer[T], error),
) (delivery.Answer[T], error) {
	return policy.Ask(ctx, r.calls, "a Resolver", slog.String(logkey.Name, name), f)
}
