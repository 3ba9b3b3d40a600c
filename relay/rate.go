package relay

import (
	"net/netip"
	"sync"
	"time"
)

// maxRateKeys bounds the memory of the counters: clients beyond it are counted
// together, which can only refuse sooner.
const maxRateKeys = 65536

// rates counts messages a minute by client.
type rates struct {
	mu      sync.Mutex
	minute  int64
	counted map[rateKey]int
}

// rateKey names a client of a connector: a user, or an address as
// [smtpd.Source] has it.
type rateKey struct {
	connector, user string
	source          netip.Addr
}

// allow counts one message and reports whether it is within limit a minute.
func (r *rates) allow(key rateKey, limit int, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := now.Unix() / 60; m != r.minute || r.counted == nil {
		r.minute = m
		r.counted = make(map[rateKey]int)
	}
	if _, known := r.counted[key]; !known && len(r.counted) >= maxRateKeys {
		key = rateKey{connector: key.connector}
	}
	if r.counted[key] >= limit {
		return false
	}
	r.counted[key]++
	return true
}
