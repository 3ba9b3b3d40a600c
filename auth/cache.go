package auth

import (
	"container/list"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// CacheOptions say what a Cache remembers. Nil stands for the defaults.
type CacheOptions struct {
	// Entries is how many right logons are remembered, and how many wrong
	// ones; those used least recently make room. Defaults to 4096.
	Entries int
	// TTL is how long right logons are remembered. A password that has
	// been changed, and a user who has been removed, stay good that long,
	// unless [Cache.Forget] is called. Defaults to 5 min.
	TTL time.Duration
	// NegativeTTL is how long wrong logons are remembered. Negative means
	// not at all. Defaults to 10 s.
	NegativeTTL time.Duration
}

// A Cache is a Verifier that remembers what another has answered.
type Cache struct {
	next Verifier
	opt  CacheOptions
	key  [sha256.Size]byte

	mu        sync.Mutex
	good, bad answers
	forgotten uint64 // calls of Forget
}

// Cached returns a Verifier that asks v and remembers its answers to the same
// proof from the same address. It keeps a keyed digest of a password,
// never the password. Answers other than an identity and [ErrBadCredentials]
// are not remembered, nor is what a [Keyring] says of a credential it knows:
// that may change at any time, and a token costs no slow hash. A flood of wrong
// logons does not push out right ones.
func Cached(v Verifier, o *CacheOptions) *Cache {
	opt := valueOf(o)
	setDefault(&opt.Entries, 4096)
	setDefault(&opt.TTL, 5*time.Minute)
	if opt.NegativeTTL == 0 {
		opt.NegativeTTL = 10 * time.Second
	}
	c := &Cache{next: required(v), opt: opt, good: newAnswers(opt.Entries),
		bad: newAnswers(opt.Entries)}
	rand.Read(c.key[:]) // never fails
	return c
}

// Verify implements [Verifier].
func (c *Cache) Verify(ctx context.Context, cr Proof) (*Identity, error) {
	key, now := c.digest(cr), time.Now()
	c.mu.Lock()
	good, bad, round := c.good.find(key, now), c.bad.find(key, now), c.forgotten
	c.mu.Unlock()
	switch {
	case good != nil:
		return good.id, nil
	case bad != nil:
		return nil, ErrBadCredentials
	}
	id, err := c.next.Verify(ctx, cr)
	var known *CredentialError
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case round != c.forgotten: // the answer may be older than what was forgotten
	case err == nil && id != nil && id.basis == nil:
		c.good.add(&answer{key: key, user: cr.Username, id: id, until: now.Add(c.opt.TTL)})
	case errors.As(err, &known): // a Keyring wants to tell of each
	case errors.Is(err, ErrBadCredentials) && c.opt.NegativeTTL > 0:
		c.bad.add(&answer{key: key, user: cr.Username, until: now.Add(c.opt.NegativeTTL)})
	}
	return id, err
}

// Forget drops what is known of a user: call it when a password has changed or
// a user is removed. The name is that which clients log on with, or that of the
// identity.
func (c *Cache) Forget(user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten++
	c.good.forget(user)
	c.bad.forget(user)
}

// digest tells proofs apart.
func (c *Cache) digest(cr Proof) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, c.key[:])
	var size [8]byte
	var certificate []byte
	if cr.TLS != nil && len(cr.TLS.PeerCertificates) > 0 {
		certificate = cr.TLS.PeerCertificates[0].Raw
	}
	for _, part := range [...]string{
		string(cr.Mechanism), cr.Username, cr.Authzid, cr.Password, cr.Token,
		string(cr.Remote.Addr().AsSlice()), string(certificate),
	} {
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		mac.Write(size[:])
		mac.Write([]byte(part))
	}
	mac.Sum(sum[:0])
	return sum
}

// An answer is what the verifier has said.
type answer struct {
	key   [sha256.Size]byte
	user  string
	id    *Identity // nil for no
	until time.Time
}

// answers are those used last.
type answers struct {
	most   int
	byKey  map[[sha256.Size]byte]*list.Element
	recent *list.List // of *answer, the one used last in front
}

func newAnswers(most int) answers {
	return answers{most: most, byKey: make(map[[sha256.Size]byte]*list.Element), recent: list.New()}
}

func (a *answers) find(key [sha256.Size]byte, now time.Time) *answer {
	e := a.byKey[key]
	if e == nil {
		return nil
	}
	known := e.Value.(*answer)
	if !now.Before(known.until) {
		a.remove(e)
		return nil
	}
	a.recent.MoveToFront(e)
	return known
}

func (a *answers) add(n *answer) {
	if e := a.byKey[n.key]; e != nil {
		a.remove(e)
	}
	for a.recent.Len() >= a.most {
		a.remove(a.recent.Back())
	}
	a.byKey[n.key] = a.recent.PushFront(n)
}

func (a *answers) remove(e *list.Element) {
	delete(a.byKey, e.Value.(*answer).key)
	a.recent.Remove(e)
}

func (a *answers) forget(user string) {
	for e := a.recent.Front(); e != nil; {
		next := e.Next()
		if known := e.Value.(*answer); known.user == user ||
			known.id != nil && known.id.User == user {
			a.remove(e)
		}
		e = next
	}
}
