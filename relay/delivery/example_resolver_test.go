package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/postern-mail/postern/relay/delivery"
)

// static is a Resolver with the addresses of one host and, for all else, the
// system's.
type static struct{ delivery.Resolver }

func (s static) LookupNetIP(
	ctx context.Context, network, host string,
) (delivery.Answer[netip.Addr], error) {
	if host == "mail.internal.example" && network != "ip6" {
		addr := netip.MustParseAddr("10.0.5.20")
		return delivery.Answer[netip.Addr]{Records: []netip.Addr{addr}, Name: host}, nil
	}
	return s.Resolver.LookupNetIP(ctx, network, host)
}

// An application answers for a host of its own.
func ExampleResolver() {
	var r delivery.Resolver = static{delivery.StandardResolver(nil)}
	a, err := r.LookupNetIP(context.Background(), "ip", "mail.internal.example")
	fmt.Println(a.Records, a.Name, a.Authentic, err)
	// Output: [10.0.5.20] mail.internal.example false <nil>
}

// The standard resolver cannot ask for TLSA records, and says so: that is no
// proof that there are none.
func ExampleStandardResolver() {
	r := delivery.StandardResolver(net.DefaultResolver)
	_, err := r.LookupTLSA(context.Background(), "_25._tcp.mx.example.com")
	fmt.Println(err)
	fmt.Println(delivery.IsNotFound(err), errors.Is(err, errors.ErrUnsupported))
	// Output:
	// TLSA records of _25._tcp.mx.example.com: unsupported operation
	// false true
}

// A name that does not exist, and one that has other records, are both not
// found.
func ExampleIsNotFound() {
	unknown := &net.DNSError{
		Err: "no such name", Name: "a.example", IsNotFound: true, UnwrapErr: delivery.ErrNoName,
	}
	slow := &net.DNSError{Err: "i/o timeout", Name: "a.example", IsTimeout: true}
	fmt.Println(delivery.IsNotFound(unknown), errors.Is(unknown, delivery.ErrNoRecords))
	fmt.Println(delivery.IsNotFound(slow))
	// Output:
	// true false
	// false
}
