package relay

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/callback"
	"github.com/postern-mail/postern/relay/internal/logkey"
)

const (
	// maxEventBytes bounds the events that wait for the application. Refusals
	// may take half of it: strangers make as many as they like.
	maxEventBytes = 16 << 20
	// eventOverhead is what an event takes beside its texts.
	eventOverhead = 512
	// tellDropped is how often the log is told that events are dropped.
	tellDropped = time.Minute
	// keptEvents is the room for events that stays when there are none.
	keptEvents = 1024
)

// eventQueue hands events to Config.Events, one after another, from a
// goroutine of its own that lives while there are some. Whoever has an event
// to tell never waits for the application: what finds no room is dropped and
// counted.
type eventQueue struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	waiting []queuedEvent
	batch   []queuedEvent // handed over from next on
	next    int
	calling int // the weight of the event that the application has now
	size    int // the weight of all events in the queue
	// expected holds the Accepted events of messages whose commit is under way,
	// by queue id.
	expected map[string]*queuedEvent
	spare    sync.Pool // of *queuedEvent, for expected
	running  bool
	closed   bool
	empty    chan struct{} // closed when the queue is empty, if somebody waits
	dropped  int           // since the log was told
	told     time.Time
}

type queuedEvent struct {
	to func(event.Event)
	event.Event
	weight int
}

// publish queues an event. One of a message whose commit has not returned yet
// shows that the commit is through: Accepted comes first.
func (q *eventQueue) publish(to func(event.Event), e event.Event) {
	if e.Time.IsZero() {
		e.Time = q.now()
	}
	q.mu.Lock()
	if e.QueueID != "" {
		q.putExpected(e.QueueID, e.Time)
	}
	q.put(to, &e)
	q.unlock(e.Time)
}

// expect keeps the Accepted event of a message that is about to be committed,
// until announce or forget.
func (q *eventQueue) expect(to func(event.Event), e event.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.expected == nil {
		q.expected = make(map[string]*queuedEvent)
	}
	a, ok := q.spare.Get().(*queuedEvent)
	if !ok {
		a = new(queuedEvent)
	}
	a.to, a.Event = to, e
	q.expected[e.QueueID] = a
}

// announce publishes the expected event, unless another has done so.
func (q *eventQueue) announce(queueID string) {
	now := time.Now()
	q.mu.Lock()
	q.putExpected(queueID, now)
	q.unlock(now)
}

// forget drops the expected event of a message that was not committed.
func (q *eventQueue) forget(queueID string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unexpect(queueID, q.expected[queueID])
}

func (q *eventQueue) putExpected(queueID string, now time.Time) {
	if a := q.expected[queueID]; a != nil {
		for e := range partsOf(&a.Event) {
			q.put(a.to, e)
		}
		q.unexpect(queueID, a)
	}
}

func (q *eventQueue) unexpect(queueID string, a *queuedEvent) {
	if a == nil {
		return
	}
	delete(q.expected, queueID)
	*a = queuedEvent{}
	q.spare.Put(a)
}

func (q *eventQueue) put(to func(event.Event), e *event.Event) {
	weight := weightOf(e)
	room := maxEventBytes
	if e.Kind == event.Rejected {
		room /= 2
	}
	// One event is always let in, however large.
	if q.closed || q.size > 0 && q.size+weight > room {
		q.dropped++
		return
	}
	q.size += weight
	q.waiting = append(q.waiting, queuedEvent{to: to, Event: *e, weight: weight})
}

// unlock ends a change of the queue: it starts what hands over, and tells the
// log of what was dropped, now and then.
func (q *eventQueue) unlock(now time.Time) {
	start := !q.running && len(q.waiting) > 0
	q.running = q.running || start
	dropped := 0
	if q.dropped > 0 && now.Sub(q.told) >= tellDropped {
		dropped, q.dropped, q.told = q.dropped, 0, now
	}
	q.mu.Unlock()
	if start {
		go q.run()
	}
	q.tell(dropped)
}

func (q *eventQueue) tell(dropped int) {
	if dropped > 0 {
		q.log.Error(
			"events dropped, because Events is too slow or does not return", logkey.Dropped,
			dropped,
		)
	}
}

// run hands over until the queue is empty.
func (q *eventQueue) run() {
	over := false
	defer func() {
		if !over { // the application has ended the goroutine
			go q.run()
		}
	}()
	var e queuedEvent
	for q.take(&e) {
		q.call(&e)
	}
	over = true
}

// take fetches the next event. When there is none, the goroutine has ended.
func (q *eventQueue) take(e *queuedEvent) bool {
	dropped := 0
	defer func() { q.tell(dropped) }()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.size -= q.calling
	q.calling = 0
	if q.next == len(q.batch) {
		q.batch, q.waiting, q.next = q.waiting, q.batch[:0], 0
		dropped, q.dropped = q.dropped, 0 // there is room again
		if cap(q.waiting) > keptEvents {
			q.waiting = nil
		}
	}
	if len(q.batch) == 0 {
		q.running = false
		if q.empty != nil {
			close(q.empty)
			q.empty = nil
		}
		return false
	}
	*e = q.batch[q.next]
	q.batch[q.next] = queuedEvent{}
	q.next++
	q.calling = e.weight
	return true
}

// call gives one event to the application.
func (q *eventQueue) call(e *queuedEvent) {
	defer func() {
		if v := recover(); v != nil {
			q.log.Error("panic in Events", logkey.Kind, e.Kind, logkey.QueueID, e.QueueID,
				logkey.Panic, fmt.Sprint(v), logkey.Stack, string(debug.Stack()))
		}
	}()
	callback.Run(func() { e.to(e.Event) })
}

// drain waits until all is handed over, or ctx ends.
func (q *eventQueue) drain(ctx context.Context) {
	for {
		q.mu.Lock()
		if !q.running {
			q.mu.Unlock()
			return
		}
		if q.empty == nil {
			q.empty = make(chan struct{})
		}
		empty := q.empty
		q.mu.Unlock()
		select {
		case <-empty:
		case <-ctx.Done():
			return
		}
	}
}

// close takes no more events and drops those that are queued. It returns their
// number, with the one that the application has not returned from.
func (q *eventQueue) close() (left int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	left = len(q.batch) - q.next + len(q.waiting)
	if q.calling > 0 {
		left++
	}
	q.batch, q.waiting, q.next, q.size = nil, nil, 0, q.calling
	clear(q.expected)
	if q.dropped > 0 {
		go q.tell(q.dropped) // a log that blocks must not hold up the end
		q.dropped = 0
	}
	return left
}

// weight is about how many bytes the event keeps in memory.
func weightOf(e *event.Event) int {
	n := eventOverhead + len(e.From) + len(e.Text) + len(e.Reason) + len(e.Host) + len(e.Command)
	for _, to := range e.To {
		n += 16 + len(to)
	}
	for k, v := range e.Labels {
		n += 64 + len(k) + len(v)
	}
	return n
}
