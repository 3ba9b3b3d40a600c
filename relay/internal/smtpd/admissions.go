package smtpd

import (
	"net/netip"
	"sync"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// admissions counts the connections of each connector, by its name, so that the
// counts outlive a change of the settings.
type admissions struct {
	mu    sync.Mutex
	usage map[string]*usage
}

type usage struct {
	total  int
	source map[netip.Addr]*source
	rate   bucket
	swept  time.Time // when sources were last forgotten
}

// source is what one of them has. It is forgotten when that is nothing.
type source struct {
	open int
	rate bucket
}

// bucket is what a connection rate leaves at the time of last.
type bucket struct {
	tokens float64
	last   time.Time
}

// fill adds what the time since has brought, for so many a minute.
func (b *bucket) fill(rate float64, now time.Time) {
	if b.last.IsZero() {
		b.tokens = rate
	}
	b.tokens = min(rate, b.tokens+now.Sub(b.last).Minutes()*rate)
	b.last = now
}

// of returns what is known of a source, also if that is nothing.
func (u *usage) of(a netip.Addr) *source {
	if s := u.source[a]; s != nil {
		return s
	}
	return new(source)
}

// sweep forgets once a minute who has no connection and has made none for so
// long.
func (u *usage) sweep(now time.Time) {
	if now.Sub(u.swept) < time.Minute {
		return
	}
	u.swept = now
	for a, s := range u.source {
		if s.open == 0 && now.Sub(s.rate.last) >= time.Minute {
			delete(u.source, a)
		}
	}
}

// admit counts a connection, or says why it may not be.
func (q *admissions) admit(
	name string, l connector.Limits, from netip.Addr, now time.Time,
) *policy.Reply {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(name, now)
	u.sweep(now)
	from = policy.Source(from)
	s := u.of(from)
	if r := u.tooFast(s, float64(l.ConnectionRate), now); r != nil {
		return r
	}
	if r := u.tooMany(s, l); r != nil {
		return r
	}
	if l.ConnectionRate > 0 {
		u.rate.tokens--
		s.rate.tokens--
	}
	u.total++
	s.open++
	u.source[from] = s
	return nil
}

// of returns what a connector has.
func (q *admissions) of(name string, now time.Time) *usage {
	u := q.usage[name]
	if u == nil {
		u = &usage{source: make(map[netip.Addr]*source), swept: now}
		if q.usage == nil {
			q.usage = make(map[string]*usage)
		}
		q.usage[name] = u
	}
	return u
}

// tooFast refuses a connection over the rate.
func (u *usage) tooFast(s *source, rate float64, now time.Time) *policy.Reply {
	if rate <= 0 {
		return nil
	}
	u.rate.fill(rate, now)
	s.rate.fill(max(1, rate/2), now)
	switch {
	case s.rate.tokens < 1:
		// One source leaves the other half to the others.
		return policy.SourceRateExceeded.Reply()
	case u.rate.tokens < 1:
		return policy.ConnectionRateExceeded.Reply()
	}
	return nil
}

// tooMany refuses a connection beside as many others as there may be.
func (u *usage) tooMany(s *source, l connector.Limits) *policy.Reply {
	if l.MaxConnections > 0 && u.total >= l.MaxConnections {
		return policy.TooManyConnections.Reply()
	}
	most := -1
	if l.MaxConnectionsPerSource > 0 {
		most = l.MaxConnectionsPerSource
	}
	// A share of what is still free, but never less than one connection.
	if p := l.MaxConnectionsPercentPerSource; p > 0 && l.MaxConnections > 0 {
		if share := max(1, int(int64(l.MaxConnections-u.total)*int64(p)/100)); most < 0 ||
			share < most {
			most = share
		}
	}
	if most >= 0 && s.open >= most {
		return policy.TooManyOfSource.Reply()
	}
	return nil
}

// release takes back what admit counted.
func (q *admissions) release(name string, from netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.usage[name]
	u.total--
	from = policy.Source(from)
	s := u.source[from]
	if s.open--; s.open == 0 && s.rate.last.IsZero() {
		delete(u.source, from)
	}
}
