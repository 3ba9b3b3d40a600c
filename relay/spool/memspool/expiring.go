package memspool

import (
	"container/heap"
	"time"
)

// itemCost is what an item takes beside key and value.
const itemCost = 128

// expiring are counters and values that end by themselves, bounded in bytes:
// those that end first go first.
type expiring struct {
	max   int64
	bytes int64
	items map[itemKey]*item
	ends  itemQueue
}

type itemKey struct {
	counter bool
	name    string
}

type item struct {
	itemKey
	count int64
	value []byte
	until time.Time
	index int
}

func (v *item) cost() int64 { return itemCost + int64(len(v.name)+len(v.value)) }

// find returns what has not ended, or nil.
func (e *expiring) find(k itemKey, now time.Time) *item {
	for len(e.ends) > 0 && !e.ends[0].until.After(now) {
		e.remove(e.ends[0])
	}
	return e.items[k]
}

func (e *expiring) remove(v *item) {
	heap.Remove(&e.ends, v.index)
	delete(e.items, v.itemKey)
	e.bytes -= v.cost()
}

// put adds an item in the place of another with its key.
func (e *expiring) put(v *item) {
	if e.items == nil {
		e.items = make(map[itemKey]*item)
	}
	if old := e.items[v.itemKey]; old != nil {
		e.remove(old)
	}
	for e.bytes+v.cost() > e.max && len(e.ends) > 0 {
		e.remove(e.ends[0])
	}
	e.items[v.itemKey] = v
	e.bytes += v.cost()
	heap.Push(&e.ends, v)
}

// itemQueue is a heap of items, ordered by when they end.
type itemQueue []*item

func (q itemQueue) Len() int           { return len(q) }
func (q itemQueue) Less(i, j int) bool { return q[i].until.Before(q[j].until) }

func (q itemQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *itemQueue) Push(x any) {
	v := x.(*item)
	v.index = len(*q)
	*q = append(*q, v)
}

func (q *itemQueue) Pop() any {
	last := len(*q) - 1
	v := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return v
}
