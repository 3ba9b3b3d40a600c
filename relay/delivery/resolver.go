package delivery

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// Resolver looks up the DNS for mail. Names are absolute, without a dot at the
// end: no search list applies. A Resolver is called from many goroutines at
// once and heeds the context, which always has an end.
//
// It is not about recipients: which of them exist is asked of a
// [github.com/postern-mail/postern/domains.Resolver].
//
// An error means that nothing is known for now, unless [IsNotFound] reports
// that it proves that there are no such records. Say so only if every question
// that was needed has that answer: a domain whose A records are not found while
// AAAA had no answer is not unknown, and mail for it waits.
type Resolver interface {
	// LookupMX returns the mail exchangers of a domain, in no certain order. An
	// error beside records tells that the list lacks some.
	LookupMX(ctx context.Context, domain string) (Answer[*net.MX], error)
	// LookupNetIP returns the addresses of a host; network is ip, ip4 or ip6.
	// For ip both families must have been asked.
	LookupNetIP(ctx context.Context, network, host string) (Answer[netip.Addr], error)
	// LookupTXT returns the texts of a name, the parts of each put together.
	LookupTXT(ctx context.Context, name string) (Answer[string], error)
	// LookupTLSA returns the TLSA records of a name such as
	// _25._tcp.mx.example.com (RFC 6698 section 3).
	LookupTLSA(ctx context.Context, name string) (Answer[TLSA], error)
	// LookupPTR returns the names of an address, without a dot at the end. They
	// are claims of who owns the address, until their addresses are looked up.
	LookupPTR(ctx context.Context, addr netip.Addr) (Answer[string], error)
}

// Answer is what the DNS says of a name.
type Answer[T any] struct {
	// Records is empty only beside an error.
	Records []T
	// Name is the name that has the records, or has none: the one asked for, or
	// what it is an alias of (CNAME), as far as the Resolver can tell. A name
	// that is an alias exists, even where an error says that the other has no
	// records.
	Name string
	// Authentic tells that DNSSEC vouches for the whole answer, absence
	// included, as checked by a server that is trusted to say so, over a way
	// that is. Defaults to false: nothing is known of that.
	Authentic bool
}

// TLSA says which certificate a host shows (RFC 6698 section 2.1).
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}

// What proves that there are no such records, wrapped in a [*net.DNSError] with
// IsNotFound by a Resolver that can tell the two apart.
var (
	ErrNoName    = errors.New("no such name")    // NXDOMAIN
	ErrNoRecords = errors.New("no such records") // the name has others
)

// IsNotFound reports whether an error proves that there are no such records:
// a [*net.DNSError] with IsNotFound that nothing speaks against. Of several
// errors in one, all must say so.
func IsNotFound(err error) bool {
	switch e := err.(type) {
	case *net.DNSError:
		return e.IsNotFound && !e.IsTemporary && !e.IsTimeout
	case interface{ Unwrap() []error }:
		list := e.Unwrap()
		for _, err := range list {
			if !IsNotFound(err) {
				return false
			}
		}
		return len(list) > 0
	case interface{ Unwrap() error }:
		return IsNotFound(e.Unwrap())
	}
	return false
}
