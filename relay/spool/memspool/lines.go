package memspool

import (
	"container/heap"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// lines are the deliveries that wait, a line for each key, so that those of
// keys of which nothing is wanted cost nothing.
type lines struct {
	n      int // deliveries
	byKey  map[spool.Key]*line
	groups map[spool.Key][]*line // by key without its stream
	order  lineQueue
}

// line has at least one delivery.
type line struct {
	key   spool.Key
	queue queue
	index int // in the order; negative while it is out of it
}

func newLines() lines {
	return lines{byKey: make(map[spool.Key]*line), groups: make(map[spool.Key][]*line)}
}

func groupOf(k spool.Key) spool.Key {
	k.Stream = ""
	return k
}

// push puts a delivery in its line.
func (t *lines) push(d *delivery) {
	t.n++
	l := t.byKey[d.Key]
	if l == nil {
		l = &line{key: d.Key, index: -1}
		l.queue.when = func(d *delivery) time.Time { return d.Due }
		t.byKey[d.Key] = l
		t.groups[groupOf(d.Key)] = append(t.groups[groupOf(d.Key)], l)
	}
	heap.Push(&l.queue, d)
	if l.index < 0 {
		heap.Push(&t.order, l)
	} else {
		heap.Fix(&t.order, l.index)
	}
}

// remove takes a delivery out of its line.
func (t *lines) remove(d *delivery) {
	l := t.byKey[d.Key]
	if len(l.queue.items) == 1 {
		heap.Remove(&t.order, l.index)
		t.shift(l)
		return
	}
	t.n--
	heap.Remove(&l.queue, d.index)
	heap.Fix(&t.order, l.index)
}

// shift takes the first delivery of a line that is out of the order, and
// forgets the line with the last one.
func (t *lines) shift(l *line) *delivery {
	t.n--
	d := heap.Pop(&l.queue).(*delivery)
	if len(l.queue.items) == 0 {
		delete(t.byKey, l.key)
		g := groupOf(l.key)
		if list := t.groups[g]; len(list) > 1 {
			i := slices.Index(list, l)
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			t.groups[g] = list[:len(list)-1]
		} else {
			delete(t.groups, g)
		}
	}
	return d
}

// matching calls f for each line in the order that a key of a request stands
// for.
func (t *lines) matching(k spool.Key, f func(*line)) {
	for _, l := range t.groups[groupOf(k)] {
		if l.index >= 0 && (k.Stream == "" || k.Stream == l.key.Stream) {
			f(l)
		}
	}
}

// lineQueue is a heap of lines, by what is due first in them.
type lineQueue []*line

func (q lineQueue) Len() int { return len(q) }

func (q lineQueue) Less(i, j int) bool {
	a, b := q[i].queue.items[0], q[j].queue.items[0]
	if c := a.Due.Compare(b.Due); c != 0 {
		return c < 0
	}
	return compareIDs(a.ID, b.ID) < 0
}

func (q lineQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *lineQueue) Push(x any) {
	l := x.(*line)
	l.index = len(*q)
	*q = append(*q, l)
}

func (q *lineQueue) Pop() any {
	last := len(*q) - 1
	l := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	l.index = -1
	return l
}
