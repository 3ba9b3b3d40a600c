package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"
	"time"
)

// A Counter counts for several processes together. A store that nodes of a
// relay share is one: its part relay/spool.Shared has this method. Keys are at
// most 100 bytes, and no name, address or secret is to be read from them. It is
// called by many sessions at once.
//
// One that does not answer within a second has failed, and is asked again after
// five. Meanwhile each process goes by what it has counted itself.
type Counter interface {
	// Add adds n to a counter and returns what it is now. A counter that is not
	// there is 0. It ends ttl after the Add that made it.
	Add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error)
}

const (
	counterLimit = time.Second     // for an answer
	counterRest  = 5 * time.Second // after a failure
)

// common counts in a Counter, and holds up nobody when that fails.
type common struct {
	counter Counter // nil: there is one process

	mu    sync.Mutex
	rests time.Time // until then
}

// count counts one, and returns how many there are in all processes, or 0 if
// that is not known.
func (c *common) count(ctx context.Context, key string, ttl time.Duration) (int64, error) {
	if c.counter == nil || c.resting() {
		return 0, nil
	}
	// Who goes away meanwhile has not found the Counter failing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), counterLimit)
	defer cancel()
	total, err := c.counter.Add(ctx, key, 1, ttl)
	if err != nil {
		c.rest()
		return 0, err
	}
	return total, nil
}

func (c *common) resting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.rests)
}

func (c *common) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rests = time.Now().Add(counterRest)
}

// counterKey names the counter of something.
func counterKey(kind string, of ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(of, "\x00")))
	return kind + "/" + base64.RawURLEncoding.EncodeToString(sum[:16])
}
