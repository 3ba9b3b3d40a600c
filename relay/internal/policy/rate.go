package policy

import (
	"net/netip"
	"sync"
	"time"

	"github.com/postern-mail/postern/connector"
)

// maxrateKeys bounds the memory of the counters: clients beyond it are counted
// together, which can only refuse sooner.
const maxrateKeys = 65536

// Rates counts messages a minute by client, in this process and, as soon as
// Share runs, in others. Its methods never wait for them.
type Rates struct {
	mu      sync.Mutex
	minute  int64
	counted map[rateKey]*count
	untold  []rateKey     // what others do not know yet, the oldest first
	more    chan struct{} // there is something untold; nil without Share
}

// rateKey names a client of a connector: a user, or an address as
// [Source] has it.
type rateKey struct {
	connector, user string
	source          netip.Addr
}

// count is what a client has sent in this minute.
type count struct {
	all    int  // in all processes, as far as this one knows
	here   int  // in this one, and not counted in all yet
	untold bool // it stands in Rates.untold, or is being told
}

// allow counts one message and reports whether it is within limit a minute.
func (r *Rates) allow(key rateKey, limit int, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := now.Unix() / 60; m != r.minute || r.counted == nil {
		r.minute = m
		r.counted, r.untold = make(map[rateKey]*count), nil
	}
	c := r.counted[key]
	if c == nil && len(r.counted) >= maxrateKeys {
		key = rateKey{connector: key.connector}
		c = r.counted[key]
	}
	if c == nil {
		c = new(count)
		r.counted[key] = c
	}
	if c.all+c.here >= limit {
		return false
	}
	c.here++
	r.toTell(key, c)
	return true
}

// Within counts a message of a client from an address against the message rate
// of its connector, and reports whether it is within.
func (r *Rates) Within(
	c Client, limits connector.Limits, from netip.Addr, now time.Time,
) bool {
	limit, by := limits.MessageRate, limits.MessageRateBy
	if limit <= 0 || by == connector.RateByNone {
		return true
	}
	name := c.Connector.Name
	byUser := c.Identity != nil && by != connector.RateByAddress
	if byUser && !r.allow(rateKey{connector: name, user: c.Identity.User}, limit, now) {
		return false
	}
	if byUser && by == connector.RateByUser {
		return true
	}
	return r.allow(rateKey{connector: name, source: Source(from)}, limit, now)
}

// Source is the address by which a peer is counted: one who holds an IPv6
// address commonly holds its whole /64.
func Source(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
