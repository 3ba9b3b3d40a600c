package dns

import (
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

// cache keeps replies until their time is over, or others need the room. The
// zero value is empty.
type cache struct {
	entries map[question]entry
	bytes   int
}

type entry struct {
	reply *reply
	until time.Time
}

// get returns the reply to a question, nil if there is none.
func (c *cache) get(q question, now time.Time) *reply {
	e, ok := c.entries[q]
	if !ok || !now.Before(e.until) {
		return nil
	}
	return e.reply
}

// put keeps a reply.
func (c *cache) put(q question, p *reply, now time.Time) {
	if c.entries == nil {
		c.entries = make(map[question]entry)
	}
	c.drop(q)
	size := p.bytes() + len(q.name)
	for len(c.entries) >= maxReplies || c.bytes+size > maxBytes {
		c.dropOne(now)
	}
	c.entries[q] = entry{p, now.Add(min(max(p.ttl, leastTTL), mostTTL))}
	c.bytes += size
}

// dropOne makes room: what is over goes first, of the few that are looked at.
func (c *cache) dropOne(now time.Time) {
	const looks = 8
	var victim question
	n := 0
	for q, e := range c.entries {
		victim = q
		if n++; n == looks || !now.Before(e.until) {
			break
		}
	}
	c.drop(victim)
}

func (c *cache) drop(q question) {
	if e, ok := c.entries[q]; ok {
		c.bytes -= e.reply.bytes() + len(q.name)
		delete(c.entries, q)
	}
}
