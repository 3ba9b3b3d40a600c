package filespool

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"github.com/postern-mail/postern/relay/spool"
)

var _ spool.Keys = (*Store)(nil)

// claims are the idempotency keys in use, in memory and in a ledger. A key
// takes about 150 bytes of memory and 136 on disk.
type claims struct {
	ledger *ledger
	max    int

	// With Store.mu held.
	by    map[keySum]int // the place in queue, counted from the first ever
	queue []aged         // oldest first, from head on
	base  int            // the place of queue[0]
	head  int
	// underway are the keys of commits that are being written. The channel is
	// closed when the outcome is known.
	underway map[keySum]chan struct{}
}

// keySum stands for a scope and a key.
type keySum [16]byte

// claim is a key in use.
type claim struct {
	message spool.ID
	digest  [32]byte
	until   int64
	at      spool.Cursor
}

// aged is a claim in the order of their coming.
type aged struct {
	key keySum
	claim
}

const claimBytes = 16 + 16 + 32 + 8

func sumKey(scope, key string) (k keySum) {
	h := sha256.New()
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(scope)))
	h.Write(n[:])
	h.Write([]byte(scope))
	h.Write([]byte(key))
	copy(k[:], h.Sum(nil))
	return k
}

func newClaims(s *Store) claims {
	return claims{
		ledger: newLedger(s, ".claims", 0), max: spool.MaxClaims,
		by: make(map[keySum]int), underway: make(map[keySum]chan struct{}),
	}
}

func appendClaim(b []byte, k keySum, c *claim) []byte {
	b = append(b, k[:]...)
	b = append(b, c.message[:]...)
	b = append(b, c.digest[:]...)
	return appendTime(b, c.until)
}

func parseClaim(b []byte) (k keySum, c claim, ok bool) {
	d := &decoder{b: b}
	copy(k[:], d.raw(uint64(len(k))))
	c.message = d.id()
	copy(c.digest[:], d.raw(uint64(len(c.digest))))
	c.until = d.time()
	return k, c, !d.bad && d.at == len(b)
}

// add puts a claim in use. The caller holds the lock.
func (c *claims) add(k keySum, v claim, now int64) {
	c.by[k] = c.base + len(c.queue)
	c.queue = append(c.queue, aged{k, v})
	c.trim(now)
}

// trim forgets the oldest keys that have ended or are too many.
func (c *claims) trim(now int64) {
	for ; c.head < len(c.queue); c.head++ {
		q := &c.queue[c.head]
		n, ok := c.by[q.key]
		if !ok || n != c.base+c.head {
			continue // taken again since
		}
		if q.until > now && len(c.by) <= c.max {
			break
		}
		delete(c.by, q.key)
	}
	if c.head > 1024 && c.head > len(c.queue)/8 {
		c.queue = append(make([]aged, 0, len(c.queue)-c.head), c.queue[c.head:]...)
		c.base, c.head = c.base+c.head, 0
	}
}

// find returns the message that has a key now.
func (c *claims) find(k keySum, now int64) (claim, bool) {
	n, ok := c.by[k]
	if !ok {
		return claim{}, false
	}
	v := c.queue[n-c.base].claim
	return v, v.until > now
}

// oldest is the place of the oldest key in use; what is before it may go.
func (c *claims) oldest() spool.Cursor {
	if c.head < len(c.queue) {
		return c.queue[c.head].at
	}
	return c.ledger.last + 1
}

// spent tells whether a sheet can go. The caller holds the lock.
func (c *claims) spent() bool {
	l := c.ledger
	return len(l.sheets) > 1 && l.sheets[0].newest < c.oldest()
}

// load reads the keys in use.
func (c *claims) load(now int64) error {
	var after spool.Cursor
	for {
		es, err := c.ledger.read(after, 1<<14)
		if g, ok := asGap(err); ok {
			after = g.Oldest
			continue
		}
		if err != nil || len(es) == 0 {
			return err
		}
		for _, e := range es {
			if k, v, ok := parseClaim(e.data); ok && v.until > now {
				v.at = e.at
				c.add(k, v, now)
			}
		}
		after = es[len(es)-1].at
	}
}

// await waits until no commit with the key is under way. The caller holds the
// lock, which it gives up meanwhile.
func (s *Store) await(ctx context.Context, k keySum) error {
	for {
		c := s.claims.underway[k]
		if c == nil {
			return s.open()
		}
		s.mu.Unlock()
		select {
		case <-c:
			s.mu.Lock()
		case <-ctx.Done():
			s.mu.Lock()
			return ctx.Err()
		}
	}
}

// reserve takes a key for a commit, or tells who has it. The caller holds the
// lock.
func (s *Store) reserve(k keySum) error {
	if v, ok := s.claims.find(k, nanos(s.now())); ok {
		return &spool.ClaimedError{Message: v.message, Digest: v.digest}
	}
	s.claims.underway[k] = make(chan struct{})
	return nil
}

// decide ends reserve. The caller holds the lock.
func (s *Store) decide(k keySum) {
	close(s.claims.underway[k])
	delete(s.claims.underway, k)
}

// Claimed tells which message has an idempotency key.
func (s *Store) Claimed(
	ctx context.Context, scope, key string,
) (id spool.ID, digest [32]byte, ok bool, err error) {
	k := sumKey(scope, key)
	if err := s.enter(ctx); err != nil {
		return id, digest, false, err
	}
	defer s.mu.Unlock()
	v, ok := s.claims.find(k, nanos(s.now()))
	if !ok {
		return id, digest, false, nil
	}
	return v.message, v.digest, true, nil
}

// newClaim makes the claim of a commit.
func (s *Store) newClaim(id spool.ID, c *spool.Claim) (keySum, claim) {
	until := nanos(s.now().Add(max(c.TTL, 0)))
	return sumKey(c.Scope, c.Key), claim{message: id, digest: c.Digest, until: until}
}
