package delivery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

var errNoAnswer = errors.New("neither an answer nor an error from the resolver")

// StandardResolver returns a Resolver that asks a resolver of the standard
// library; nil is [net.DefaultResolver]. It knows nothing of DNSSEC, so no
// answer is Authentic, and it cannot ask for TLSA records: that fails, for now,
// with [errors.ErrUnsupported]. It caches nothing.
func StandardResolver(r *net.Resolver) Resolver {
	if r == nil {
		r = net.DefaultResolver
	}
	return standard{r}
}

// standard makes sure that what a resolver of the standard library does not
// find is not there. One that asks for A and AAAA at once may answer with the
// "not found" of one although the other had no answer.
type standard struct{ of lookups }

// lookups are the methods of [net.Resolver] in use.
type lookups interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupCNAME(ctx context.Context, host string) (string, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// absolute keeps the search list of resolv.conf out: example.com must not
// become example.com.corp.example.
func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }

func relative(name string) string { return strings.TrimSuffix(name, ".") }

// answer holds a Resolver to an error beside nothing.
func answer[T any](name string, records []T, err error) (Answer[T], error) {
	if len(records) == 0 && err == nil {
		err = errNoAnswer
	}
	return Answer[T]{Records: records, Name: name}, err
}

func (s standard) LookupMX(ctx context.Context, domain string) (Answer[*net.MX], error) {
	list, err := s.of.LookupMX(ctx, absolute(domain))
	if len(list) == 0 && err == nil {
		err = &net.DNSError{Err: ErrNoRecords.Error(), Name: domain, IsNotFound: true}
	}
	return answer(domain, list, err)
}

func (s standard) LookupNetIP(
	ctx context.Context, network, host string,
) (Answer[netip.Addr], error) {
	return s.addresses(ctx, network, host, absolute(host))
}

// LookupHost looks the name of a host up as programs on this machine do, with
// the search list of the system.
func (s standard) LookupHost(ctx context.Context, host string) (Answer[netip.Addr], error) {
	return s.addresses(ctx, "ip", host, host)
}

func (s standard) addresses(
	ctx context.Context, network, host, asked string,
) (Answer[netip.Addr], error) {
	networks := []string{network}
	if network == "ip" {
		networks = []string{"ip", "ip4", "ip6"}
	}
	var a Answer[netip.Addr]
	var err error
	for _, n := range networks {
		var list []netip.Addr
		list, err = s.of.LookupNetIP(ctx, n, asked)
		if a, err = answer(host, list, err); !IsNotFound(err) {
			return a, err
		}
	}
	return s.alias(ctx, a, asked, err)
}

// alias finds out whether a name without addresses is the alias of another. A
// chain of aliases that breaks off half-way has no addresses for now: its end
// was never asked.
func (s standard) alias(
	ctx context.Context, a Answer[netip.Addr], asked string, notFound error,
) (Answer[netip.Addr], error) {
	name, err := s.of.LookupCNAME(ctx, asked)
	switch {
	case IsNotFound(err):
		return a, notFound
	case err != nil:
		return a, err
	case strings.EqualFold(relative(name), relative(asked)):
		return a, errNoAnswer // it has come to be meanwhile
	}
	a.Name = relative(name)
	return a, notFound
}

func (s standard) LookupTXT(ctx context.Context, name string) (Answer[string], error) {
	list, err := s.of.LookupTXT(ctx, absolute(name))
	return answer(name, list, err)
}

func (s standard) LookupTLSA(_ context.Context, name string) (Answer[TLSA], error) {
	return Answer[TLSA]{Name: name}, fmt.Errorf("TLSA records of %s: %w", name,
		errors.ErrUnsupported)
}

func (s standard) LookupPTR(ctx context.Context, addr netip.Addr) (Answer[string], error) {
	list, err := s.of.LookupAddr(ctx, addr.String())
	for i, name := range list {
		list[i] = relative(name)
	}
	return answer(addr.String(), list, err)
}
