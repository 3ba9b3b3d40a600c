package smtpd

import (
	"net/netip"
	"sync"
	"time"

	"github.com/postern-mail/postern/connector"
)

// quota counts the connections of each connector, by its name, so that the
// counts outlive a change of policy.
type quota struct {
	mu    sync.Mutex
	usage map[string]*usage
}

type usage struct {
	total  int
	source map[netip.Addr]int
	// tokens is what the connection rate leaves at the time of last.
	tokens float64
	last   time.Time
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

// admit counts a connection, or says why it may not be.
func (q *quota) admit(name string, l connector.Limits, from netip.Addr, now time.Time) *Reply {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.usage[name]
	if u == nil {
		u = &usage{source: make(map[netip.Addr]int), tokens: float64(l.ConnectionRate), last: now}
		if q.usage == nil {
			q.usage = make(map[string]*usage)
		}
		q.usage[name] = u
	}
	if rate := float64(l.ConnectionRate); rate > 0 {
		u.tokens = min(rate, u.tokens+now.Sub(u.last).Minutes()*rate)
		u.last = now
		if u.tokens < 1 {
			return refusal(421, "4.3.2", "The connection rate has exceeded a limit, closing transmission channel")
		}
	}
	if l.MaxConnections > 0 && u.total >= l.MaxConnections {
		return refusal(421, "4.3.2", "The maximum number of concurrent connections has exceeded a limit, closing transmission channel")
	}
	from = Source(from)
	most := -1
	if l.MaxConnectionsPerSource > 0 {
		most = l.MaxConnectionsPerSource
	}
	// A share of what is still free, but never less than one connection.
	if p := l.MaxConnectionsPercentPerSource; p > 0 && l.MaxConnections > 0 {
		if share := max(1, int(int64(l.MaxConnections-u.total)*int64(p)/100)); most < 0 || share < most {
			most = share
		}
	}
	if most >= 0 && u.source[from] >= most {
		return refusal(421, "4.3.2", "The maximum number of concurrent connections has exceeded a per-source limit, closing transmission channel")
	}
	if l.ConnectionRate > 0 {
		u.tokens--
	}
	u.total++
	u.source[from]++
	return nil
}

// release takes back what admit counted.
func (q *quota) release(name string, from netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.usage[name]
	u.total--
	from = Source(from)
	if u.source[from]--; u.source[from] == 0 {
		delete(u.source, from)
	}
}
