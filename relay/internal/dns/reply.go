package dns

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// How long replies are kept.
const (
	leastTTL    = time.Second
	mostTTL     = 24 * time.Hour
	mostAbsent  = 15 * time.Minute // that there are no such records
	bareAbsent  = 5 * time.Second  // the same without an SOA record
	failureTTL  = 3 * time.Second
	maxReplies  = 10_000
	maxBytes    = 8 << 20
	replyBytes  = 400 // of a reply without its contents
	recordBytes = 48  // of a record without its text
)

// question is what is asked: the name is in lower case, without a dot at the
// end.
type question struct {
	name string
	kind uint16
}

// reply is what is known of a question. It does not change.
type reply struct {
	name      string // that has the records, if not the one asked for
	authentic bool
	exchanges []net.MX
	addresses []netip.Addr
	texts     []string // of TXT, and names of PTR
	tlsa      []delivery.TLSA
	err       error
	ttl       time.Duration
	aliases   int // questions on the way
}

// failed reports whether nothing is known.
func (p *reply) failed() bool { return p.err != nil && !delivery.IsNotFound(p.err) }

// bytes is about what the reply takes of the memory.
func (p *reply) bytes() int {
	n := replyBytes + len(p.name) + recordBytes*len(p.addresses)
	for i := range p.exchanges {
		n += recordBytes + len(p.exchanges[i].Host)
	}
	for _, s := range p.texts {
		n += recordBytes + len(s)
	}
	for i := range p.tlsa {
		n += recordBytes + len(p.tlsa[i].Data)
	}
	return n
}

func notFound(name string, why error) error {
	return &net.DNSError{Err: why.Error(), Name: name, IsNotFound: true, UnwrapErr: why}
}

func gaveUp(name string, ctx context.Context) error {
	cause := context.Cause(ctx)
	return &net.DNSError{
		Err: cause.Error(), Name: name, IsTimeout: true, IsTemporary: true, UnwrapErr: cause,
	}
}

// failure is a reply that tells nothing but that there was none.
func failure(name, text string) *reply {
	return &reply{
		ttl: failureTTL,
		err: &net.DNSError{Err: text, Name: name, IsTemporary: true},
	}
}
