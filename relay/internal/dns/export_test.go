package dns

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Bounds for tests.
const (
	MaxReplies = maxReplies
	MaxBytes   = maxBytes
	MaxRecords = maxRecords
	MaxFlights = maxFlights
)

// Ask makes f the one to ask: it returns texts, how long they keep, and an
// error.
func (r *Resolver) Ask(
	f func(ctx context.Context, name string, kind uint16) ([]string, time.Duration, error),
) {
	r.ask = func(ctx context.Context, q question) *reply {
		texts, ttl, err := f(ctx, q.name, q.kind)
		return &reply{texts: texts, ttl: ttl, err: err}
	}
}

// AskAddresses makes f the one to ask for addresses.
func (r *Resolver) AskAddresses(f func(name string, ip6 bool) (addr string, err error)) {
	r.ask = func(_ context.Context, q question) *reply {
		addr, err := f(q.name, q.kind == dns.TypeAAAA)
		p := &reply{authentic: err == nil, err: err, ttl: time.Minute}
		if err == nil {
			p.addresses = []netip.Addr{netip.MustParseAddr(addr)}
		}
		return p
	}
}

// Held is the number of replies in the cache, and their bytes.
func (r *Resolver) Held() (replies, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.cache.entries), r.cache.bytes
}

// Read reads an answer as one to a question.
func Read(m *dns.Msg, name string, kind uint16) (records int, end string, more bool, err error) {
	p, more, err := read(m, question{name, kind})
	if p == nil {
		return 0, "", more, err
	}
	if err == nil {
		err = p.err
	}
	return p.records(), p.name, more, err
}

// Unpack reads octets as an answer to a question.
func Unpack(packed []byte, name string, kind, id uint16) (*dns.Msg, error) {
	query := newQuery(question{name, kind}, true)
	query.Id = id
	return unpack(packed, query)
}

// Settings are what resolv.conf says.
func Settings(src io.Reader) (servers []string, trusted bool, attempts int, timeout time.Duration) {
	s := readSettings(src)
	for _, server := range s.servers {
		servers = append(servers, server.addr)
		trusted = trusted || server.trusted
	}
	return servers, trusted, s.attempts, s.timeout
}

// Candidates are the names that a host means by a resolv.conf.
func Candidates(src io.Reader, host string) []string { return readSettings(src).candidates(host) }

// Hosts are the names in a hosts file.
func Hosts(src io.Reader) map[string][]netip.Addr { return readHosts(src) }

// For fuzzing.
var (
	CanonicalName = canonicalName
	Unescape      = unescape
)
