package dns

import (
	"time"
)

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
