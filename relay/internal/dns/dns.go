package dns

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/postern-mail/postern/relay/delivery"
)

// Bounds of what is under way.
const (
	patience   = 30 * time.Second // for a question, over all servers
	maxFlights = 1000             // questions at once
)

// Resolver is a [delivery.Resolver] with a cache. It starts no goroutine but
// those that wait for an answer.
type Resolver struct {
	client *client
	hosts  hostsFile
	ask    func(ctx context.Context, q question) *reply

	mu      sync.Mutex
	cache   cache
	flights map[question]*flight
}

// flight is a question under way.
type flight struct {
	done  chan struct{}
	reply *reply
}

// System returns the resolver of this system: a Resolver, or the standard one
// where there is no resolv.conf, as on Windows.
func System() delivery.Resolver {
	r := New(Config{})
	if !r.client.settings.exists() {
		return delivery.StandardResolver(nil)
	}
	return r
}

// New makes a Resolver. It reads no file yet.
func New(cfg Config) *Resolver {
	r := &Resolver{flights: make(map[question]*flight)}
	r.client = newClient(cfg)
	r.hosts.path = cmp.Or(cfg.Hosts, "/etc/hosts")
	r.ask = r.client.resolve
	return r
}

// LookupMX returns the mail exchangers of a domain, the best 64.
func (r *Resolver) LookupMX(
	ctx context.Context, domain string,
) (delivery.Answer[*net.MX], error) {
	p := r.lookUp(ctx, domain, dns.TypeMX)
	copies := slices.Clone(p.exchanges)
	list := make([]*net.MX, len(copies))
	for i := range copies {
		list[i] = &copies[i]
	}
	return answer(domain, p, list)
}

// LookupTXT returns the texts of a name.
func (r *Resolver) LookupTXT(ctx context.Context, name string) (delivery.Answer[string], error) {
	p := r.lookUp(ctx, name, dns.TypeTXT)
	return answer(name, p, slices.Clone(p.texts))
}

// LookupTLSA returns the TLSA records of a name.
func (r *Resolver) LookupTLSA(
	ctx context.Context, name string,
) (delivery.Answer[delivery.TLSA], error) {
	p := r.lookUp(ctx, name, dns.TypeTLSA)
	list := slices.Clone(p.tlsa)
	for i := range list {
		list[i].Data = slices.Clone(list[i].Data)
	}
	return answer(name, p, list)
}

// LookupPTR returns the names of an address.
func (r *Resolver) LookupPTR(
	ctx context.Context, addr netip.Addr,
) (delivery.Answer[string], error) {
	name, err := dns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return delivery.Answer[string]{}, notFound(addr.String(), delivery.ErrNoName)
	}
	p := r.lookUp(ctx, name, dns.TypePTR)
	return answer(addr.String(), p, slices.Clone(p.texts))
}

// answer puts what is known of a name together. There is an error unless there
// are records, and beside records one that some are missing.
func answer[T any](name string, p *reply, records []T) (delivery.Answer[T], error) {
	return delivery.Answer[T]{
		Records: records, Name: cmp.Or(p.name, name), Authentic: p.authentic,
	}, p.err
}

// lookUp returns what is known of a name, from the cache or by asking.
func (r *Resolver) lookUp(ctx context.Context, name string, kind uint16) *reply {
	canonical, ok := canonicalName(name)
	if !ok {
		return &reply{err: notFound(name, delivery.ErrNoName)}
	}
	f, p := r.begin(question{canonical, kind})
	if p != nil {
		return p
	}
	select {
	case <-f.done:
		return f.reply
	case <-ctx.Done():
		return &reply{err: gaveUp(name, ctx)}
	}
}

// begin returns the reply from the cache, or the flight that will have it.
func (r *Resolver) begin(q question) (*flight, *reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.cache.get(q, time.Now()); p != nil {
		return nil, p
	}
	if f := r.flights[q]; f != nil {
		return f, nil
	}
	if len(r.flights) >= maxFlights {
		return nil, failure(q.name, "too many questions at once")
	}
	f := &flight{done: make(chan struct{})}
	r.flights[q] = f
	go r.fly(q, f)
	return f, nil
}

// fly asks a question with a clock of its own: whoever asked first may have
// gone meanwhile.
func (r *Resolver) fly(q question, f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f.reply = r.ask(ctx, q)
	r.mu.Lock()
	delete(r.flights, q)
	r.cache.put(q, f.reply, time.Now())
	r.mu.Unlock()
	close(f.done)
}
