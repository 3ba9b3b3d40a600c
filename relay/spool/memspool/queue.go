package memspool

import (
	"maps"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

type message struct {
	spool.Message
	content    []byte
	deliveries map[int]*delivery
}

func (m *message) copy() spool.Message {
	c := m.Message
	c.Labels = maps.Clone(c.Labels)
	return c
}

type delivery struct {
	spool.Delivery
	message *message
	token   uint64    // zero while nobody holds it
	until   time.Time // by the monotonic clock
	resting bool      // nobody holds it, and it waits for until all the same
	index   int       // in its queue
}

func (d *delivery) copy() spool.Delivery {
	c := d.Delivery
	c.Recipients = slices.Clone(c.Recipients)
	return c
}

func (d *delivery) lease() spool.Lease {
	return spool.Lease{Message: d.message.copy(), Delivery: d.copy(), Token: d.token}
}

func (d *delivery) item() spool.Item {
	return spool.Item{
		Message: d.message.copy(), Delivery: d.copy(),
		State: spool.StateOf(d.token != 0, d.Held, d.Crashes),
	}
}

func compareIDs(a, b spool.DeliveryID) int {
	if c := a.Message.Compare(b.Message); c != 0 {
		return c
	}
	return a.Seq - b.Seq
}

// queue is a heap of deliveries, ordered by when their turn comes.
type queue struct {
	items []*delivery
	when  func(*delivery) time.Time
}

func (q *queue) Len() int { return len(q.items) }

func (q *queue) Less(i, j int) bool {
	a, b := q.items[i], q.items[j]
	if c := q.when(a).Compare(q.when(b)); c != 0 {
		return c < 0
	}
	return compareIDs(a.ID, b.ID) < 0
}

func (q *queue) Swap(i, j int) {
	q.items[i], q.items[j] = q.items[j], q.items[i]
	q.items[i].index, q.items[j].index = i, j
}

func (q *queue) Push(x any) {
	d := x.(*delivery)
	d.index = len(q.items)
	q.items = append(q.items, d)
}

func (q *queue) Pop() any {
	last := len(q.items) - 1
	d := q.items[last]
	q.items[last] = nil
	q.items = q.items[:last]
	return d
}
