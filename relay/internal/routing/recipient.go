package routing

import (
	"strings"
	"time"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

// Recipient is one recipient on its way into the queue.
type Recipient struct {
	To        domains.Address
	Placement policy.Placement
	// Notify, Delayed and Original are as in spool.Recipient.
	Notify   spool.Notify
	Delayed  bool
	Original string
}

// Distinct merges the recipients that are named more than once, in whatever
// spelling: each gets one copy. The case of the local part does not count, as
// in Postfix.
func Distinct(rcpts []Recipient) []Recipient {
	if len(rcpts) < 2 {
		return rcpts
	}
	seen := make(map[string]int, len(rcpts))
	list := rcpts[:0]
	for _, r := range rcpts {
		key := strings.ToLower(r.To.Key())
		if i, ok := seen[key]; ok {
			list[i].merge(r)
			continue
		}
		seen[key] = len(list)
		list = append(list, r)
	}
	return list
}

// merge adds what was asked for where the recipient was named again: all that
// was asked to be told of, and the first ORCPT.
func (r *Recipient) merge(again Recipient) {
	r.Notify = both(r.Notify, again.Notify)
	if r.Original == "" {
		r.Original = again.Original
	}
}

// both returns what two NOTIFY parameters ask for together. NEVER asks for
// nothing.
func both(a, b spool.Notify) spool.Notify {
	const unasked = spool.NotifyFailure | spool.NotifyDelay
	switch {
	case a == b || b == spool.NotifyNever:
		return a
	case a == spool.NotifyNever:
		return b
	case a == 0:
		a = unasked
	case b == 0:
		b = unasked
	}
	return a | b
}

// Distrust sees that no report goes to a stranger's claim but one that is owed:
// of failure, and of delay to whom asks for it.
func (r *Recipient) Distrust() {
	r.Delayed = r.Notify == 0
	if r.Notify == spool.NotifySuccess {
		r.Notify = spool.NotifyNever
	}
	r.Notify &^= spool.NotifySuccess
}

// maxTogether bounds the recipients of one delivery: they are leased, settled
// and told of in one step of the store.
const maxTogether = 1000

// Deliveries groups the recipients of a message by key, at most a thousand
// together. They are due at once, and expire after a while.
func (r *Routes) Deliveries(
	rcpts []Recipient, stream string, size int64, now time.Time, expires time.Duration,
) []spool.Delivery {
	var g groups
	for i := range rcpts {
		rcpt := &rcpts[i]
		k := r.KeyOf(rcpt.Placement, rcpt.To, size)
		k.Stream = stream
		d := g.find(k)
		if d.Recipients == nil {
			d.Expires = now.Add(expires)
		}
		if len(g.list) == 1 && d.Recipients == nil { // most messages have one key
			d.Recipients = make([]spool.Recipient, 0, min(len(rcpts), maxTogether))
		}
		d.Recipients = append(d.Recipients, spool.Recipient{
			Address: rcpt.To.String(), Notify: rcpt.Notify, Delayed: rcpt.Delayed,
			Original: rcpt.Original,
		})
	}
	return g.list
}

// groups are deliveries by key.
type groups struct {
	list []spool.Delivery
	last map[spool.Key]int // where the list is long: a key's last one
}

// longList is where looking through the list takes longer than a map.
const longList = 8

// find returns the delivery of a key that has room, made if missing.
func (g *groups) find(k spool.Key) *spool.Delivery {
	if i := g.at(k); i >= 0 && len(g.list[i].Recipients) < maxTogether {
		return &g.list[i]
	}
	g.list = append(g.list, spool.Delivery{Key: k})
	if n := len(g.list) - 1; g.last != nil {
		g.last[k] = n
	} else if n == longList {
		g.last = make(map[spool.Key]int)
		for i := range g.list {
			g.last[g.list[i].Key] = i
		}
	}
	return &g.list[len(g.list)-1]
}

// at returns the place of the last delivery of a key, or -1.
func (g *groups) at(k spool.Key) int {
	if g.last != nil {
		if i, ok := g.last[k]; ok {
			return i
		}
		return -1
	}
	for i := len(g.list) - 1; i >= 0; i-- {
		if g.list[i].Key == k {
			return i
		}
	}
	return -1
}
