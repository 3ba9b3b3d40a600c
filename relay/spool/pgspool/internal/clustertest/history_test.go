//go:build unix

package clustertest_test

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// history is what happened, as those outside of the relays saw it.
type history struct {
	mu sync.Mutex

	// By recipient; each message has recipients of its own.
	acknowledged map[string]time.Time
	undone       map[string]bool     // of transactions that were rolled back
	doubtful     map[string][]string // by order, where it is not known whether it was placed
	taken        map[string][]taking
	refused      map[string]bool // for good, by the next hop
	fated        map[string]bool // those of whom the log tells a fate

	faults []fault
	seen   []logged // by the follower, in the order in which it was told, with repetitions
	log    []logged // as it is at the end
}

// taking is that the next hop took a message for one recipient.
type taking struct {
	got     time.Time // the end of its content
	at      time.Time // when the next hop said so, or would have
	host    string    // the relay, by its EHLO
	replied bool      // false where the reply was lost
	whole   bool
}

// logged is an event and the place behind it.
type logged struct {
	at spool.Cursor
	event.Event
}

// fault is a time in which a relay could not record what the next hop took.
type fault struct {
	kind     string
	host     string // empty for all relays
	from, to time.Time
}

func newHistory() *history {
	return &history{
		acknowledged: map[string]time.Time{}, undone: map[string]bool{},
		doubtful: map[string][]string{}, taken: map[string][]taking{},
		refused: map[string]bool{}, fated: map[string]bool{},
	}
}

// acknowledge notes that somebody was told that a message is on its way.
func (h *history) acknowledge(to ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range to {
		h.acknowledged[r] = time.Now()
	}
}

// undo notes that a transaction with a message was rolled back.
func (h *history) undo(to ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range to {
		h.undone[r] = true
	}
}

func (h *history) take(to []string, t taking) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range to {
		h.taken[r] = append(h.taken[r], t)
	}
}

func (h *history) refuse(to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused[to] = true
}

// doubt notes that a transaction has failed: at its commit, maybe.
func (h *history) doubt(order string, to []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.doubtful[order] = to
}

// doubts are the transactions that have failed, by order.
func (h *history) doubts() map[string][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.doubtful)
}

func (h *history) see(events []logged) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, events...)
}

// read notes what the log has told so far.
func (h *history) read(events []logged) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range events {
		if e := &events[i]; e.Kind.Fate() {
			for _, to := range e.To {
				h.fated[to] = true
			}
		}
	}
}

// begin notes that a fault begins, and returns what notes its end.
func (h *history) begin(kind, host string) (end func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := len(h.faults)
	h.faults = append(h.faults, fault{kind, host, time.Now(), time.Now().Add(time.Hour)})
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.faults[i].to = time.Now()
	}
}

// note notes a fault that is over.
func (h *history) note(f fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, f)
}

// count is the number of recipients whose mail was acknowledged.
func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.acknowledged)
}

// waiting are those of the acknowledged recipients of whom the log tells no
// fate yet, of a list or of all.
func (h *history) waiting(of []string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []string
	if of == nil {
		of = slices.Collect(maps.Keys(h.acknowledged))
	}
	for _, to := range of {
		if !h.fated[to] {
			list = append(list, to)
		}
	}
	return list
}
