package memspool

import (
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// claims are the idempotency keys in use, in the order in which they came.
type claims struct {
	max   int
	by    map[claimKey]claim
	queue []claimed // oldest first
	next  uint64
}

type claimKey struct{ scope, key string }

type claim struct {
	message spool.ID
	digest  [32]byte
	until   time.Time
	number  uint64
}

// claimed is a place in the queue. The key may have come again since.
type claimed struct {
	claimKey
	number uint64
}

// find returns who has a key.
func (c *claims) find(k claimKey, now time.Time) (claim, bool) {
	v, ok := c.by[k]
	return v, ok && v.until.After(now)
}

// add gives a key to a message.
func (c *claims) add(v *spool.Claim, id spool.ID, now time.Time) {
	if v.TTL <= 0 {
		return
	}
	if c.by == nil {
		c.by = make(map[claimKey]claim)
	}
	k := claimKey{v.Scope, v.Key}
	c.next++
	c.by[k] = claim{message: id, digest: v.Digest, until: now.Add(v.TTL), number: c.next}
	c.queue = append(c.queue, claimed{k, c.next})
	for len(c.queue) > 0 && (len(c.by) > c.max || !c.current(c.queue[0], now)) {
		if head := c.queue[0]; c.by[head.claimKey].number == head.number {
			delete(c.by, head.claimKey)
		}
		c.queue = c.queue[1:]
	}
}

// current reports whether a place in the queue stands for a key in use.
func (c *claims) current(v claimed, now time.Time) bool {
	e, ok := c.by[v.claimKey]
	return ok && e.number == v.number && e.until.After(now)
}
