package policy

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"strconv"
	"time"

	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	// tellPause is between two rounds of Share, and tellMost how many counts
	// one round tells: others know of a client's messages within a pause, and
	// the store has no more than 512 calls a second.
	tellPause = 250 * time.Millisecond
	tellMost  = 128
	// tellLimit is how long the store may take for one. After a failure Share
	// waits for tellRest.
	tellLimit = 2 * time.Second
	tellRest  = 5 * time.Second
	// rateTTL is how long the store keeps the count of a minute.
	rateTTL = 2 * time.Minute
)

// Share counts together with other processes until ctx ends: it tells shared
// what was counted here, and hears what all have counted. Each process admits
// what it does not know to be too much. So a client that sends through several
// may have more than its rate by what they admit within a tellPause; while
// shared fails each counts alone.
func (r *Rates) Share(ctx context.Context, shared spool.Shared, log *slog.Logger) {
	more := make(chan struct{}, 1)
	r.setMore(more)
	defer r.setMore(nil)
	for failed := false; ; {
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
		rest, err := tellPause, r.tellAll(ctx, shared)
		if err != nil && ctx.Err() == nil {
			if rest = tellRest; !failed {
				log.Warn("message rates are counted in this process alone", logkey.Err, err)
			}
		}
		failed = err != nil
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return
		}
	}
}

func (r *Rates) setMore(more chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.more = more
}

// tellAll tells what has waited for longest. What is left waits for the next
// round.
func (r *Rates) tellAll(ctx context.Context, shared spool.Shared) error {
	for range tellMost {
		key, c, minute, n := r.nextUntold()
		if c == nil {
			return nil
		}
		all, err := add(ctx, shared, key, minute, n)
		r.told(key, c, n, all, err)
		if err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.signal()
	return nil
}

// add counts n messages in all processes, and returns how many they are.
func add(
	ctx context.Context, shared spool.Shared, key rateKey, minute int64, n int,
) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, tellLimit)
	defer cancel()
	return shared.Add(ctx, key.counter(minute), int64(n), rateTTL)
}

// counter names the counter of a minute. Users and addresses are not to be read
// from it, and it is short whatever they are.
func (k rateKey) counter(minute int64) string {
	b, _ := k.source.MarshalText() // never fails
	sum := sha256.Sum256([]byte(k.connector + "\x00" + k.user + "\x00" + string(b)))
	return "rate/" + strconv.FormatInt(minute, 10) + "/" +
		base64.RawURLEncoding.EncodeToString(sum[:16])
}

// toTell notes that others do not know all of a count. The caller holds the
// lock.
func (r *Rates) toTell(key rateKey, c *count) {
	if r.more == nil || c.untold {
		return
	}
	c.untold = true
	r.untold = append(r.untold, key)
	r.signal()
}

// signal wakes Share if there is something to tell. The caller holds the lock.
func (r *Rates) signal() {
	if len(r.untold) == 0 {
		return
	}
	select {
	case r.more <- struct{}{}:
	default: // it will look, or does not run
	}
}

// nextUntold returns what to tell next, and how many messages that are; no
// count if there is nothing.
func (r *Rates) nextUntold() (key rateKey, c *count, minute int64, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.untold) == 0 {
		return rateKey{}, nil, 0, 0
	}
	key = r.untold[0]
	r.untold = r.untold[1:]
	c = r.counted[key]
	return key, c, r.minute, c.here
}

// told takes the answer to n messages of a count. What was not told waits for
// the next time.
func (r *Rates) told(key rateKey, c *count, n int, all int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counted[key] != c {
		return // of the last minute
	}
	if err == nil {
		// A store may forget, this process does not.
		c.all, c.here = max(c.all+n, int(all)), c.here-n
	}
	if c.untold = false; c.here > 0 {
		r.toTell(key, c)
	}
}
