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

// Deliveries groups the recipients of a message by key. They are due at once,
// and expire after a while.
func (r *Routes) Deliveries(
	rcpts []Recipient, stream string, size int64, now time.Time, expires time.Duration,
) []spool.Delivery {
	list := make([]spool.Delivery, 0, 1)
	for i := range rcpts {
		rcpt := &rcpts[i]
		k := r.KeyOf(rcpt.Placement, rcpt.To, size)
		k.Stream = stream
		d := deliveryOf(&list, k)
		if d.Recipients == nil {
			d.Expires = now.Add(expires)
			d.Recipients = make([]spool.Recipient, 0, len(rcpts)-i)
		}
		d.Recipients = append(d.Recipients, spool.Recipient{
			Address: rcpt.To.String(), Notify: rcpt.Notify, Delayed: rcpt.Delayed,
			Original: rcpt.Original,
		})
	}
	return list
}

// deliveryOf returns the list's delivery for a key, made if missing. Lists are
// short: most messages have one key.
func deliveryOf(list *[]spool.Delivery, k spool.Key) *spool.Delivery {
	for i := range *list {
		if (*list)[i].Key == k {
			return &(*list)[i]
		}
	}
	*list = append(*list, spool.Delivery{Key: k})
	return &(*list)[len(*list)-1]
}
