package relay

import (
	"context"

	"github.com/postern-mail/postern/relay/spool"
)

// maxPoisoned bounds the deliveries that Poisoned looks at.
const maxPoisoned = 1000

// Poisoned returns the messages of which copies are set aside because attempts
// at them crash, the oldest first: those of the first 1000 such deliveries,
// each with these Recipients alone. [Relay.Reschedule] tries a message again,
// [Relay.Cancel] removes all of it. The store needs a [spool.Manager]: without
// one the error is [errors.ErrUnsupported]. Stores may look through the whole
// queue for it.
func (r *Relay) Poisoned(ctx context.Context) ([]*Status, error) {
	m, err := r.manager(ctx)
	if err != nil {
		return nil, err
	}
	var list []*Status
	q := spool.Query{State: spool.StatePoison, Max: maxPoisoned}
	for q.Max > 0 {
		items, err := m.List(ctx, q)
		if err != nil {
			return nil, err
		}
		if len(items) == 0 {
			break
		}
		list = addItems(list, items)
		q.After, q.Max = items[len(items)-1].Delivery.ID, q.Max-len(items)
	}
	return list, nil
}

// addItems adds deliveries, those of a message one after the other, to what is
// told of messages.
func addItems(list []*Status, items []spool.Item) []*Status {
	for i := range items {
		s := statusOf(&items[i].Message)
		if n := len(list); n > 0 && list[n-1].QueueID == s.QueueID {
			s = list[n-1]
		} else {
			list = append(list, s)
		}
		s.add(&items[i])
	}
	return list
}
