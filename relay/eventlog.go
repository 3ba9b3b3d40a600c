package relay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	// maxEventTo bounds the recipients of one Accepted event, in bytes of its
	// stored form.
	maxEventTo = 24 << 10
	// truncations is how often a Retention is looked after.
	truncations = 20
)

// eventLog is the log of the store. A nil one keeps nothing.
type eventLog struct {
	store     spool.Log
	nodes     spool.Nodes // nil for a store of one process
	retention time.Duration
	log       *slog.Logger
	now       func() time.Time

	mu       sync.Mutex
	followed map[string]bool // consumers of a Follow under way
}

func newEventLog(cfg *Config, now func() time.Time) *eventLog {
	if cfg.EventLog.Retention <= 0 {
		return nil
	}
	store, _ := cfg.Spool.(spool.Log)
	nodes, _ := cfg.Spool.(spool.Nodes)
	return &eventLog{
		store: store, nodes: nodes, retention: cfg.EventLog.Retention, log: logger(*cfg),
		now: now, followed: make(map[string]bool),
	}
}

// record adds an event, as the store keeps it, to a list.
func (l *eventLog) record(list []spool.Record, e *event.Event) []spool.Record {
	if l == nil {
		return list
	}
	for part := range partsOf(e) {
		list = append(list, spool.Record{Time: part.Time, Data: event.Append(nil, part)})
	}
	return list
}

// partsOf gives an event as it is or, if it has very many recipients, as
// several, each with its own id. Long texts are cut. It gives e an id if it has
// none.
func partsOf(e *event.Event) iter.Seq[*event.Event] {
	return func(yield func(*event.Event) bool) {
		if e.ID == "" {
			e.Identify()
		}
		if isSmall(e) {
			yield(e)
			return
		}
		part := *e
		for _, text := range longTexts(&part) {
			*text = cut(*text)
		}
		for to := range pages(e.To) {
			if part.To = to; len(to) < len(e.To) {
				part.Identify()
			}
			if !yield(&part) {
				return
			}
		}
	}
}

// longTexts are those of an event that others write.
func longTexts(e *event.Event) [5]*string {
	return [...]*string{&e.Text, &e.Reason, &e.Host, &e.Enhanced, &e.Certificate}
}

func isSmall(e *event.Event) bool {
	for _, text := range longTexts(e) {
		if len(*text) > maxEventText {
			return false
		}
	}
	size := 0
	for _, to := range e.To {
		size += storedLen(to)
	}
	return size <= maxEventTo
}

// pages parts the recipients of an event; it gives at least one part.
func pages(to []string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		size, first := 0, 0
		for i := range to {
			n := storedLen(to[i])
			if size += n; size > maxEventTo && i > first {
				if !yield(to[first:i:i]) {
					return
				}
				size, first = n, i
			}
		}
		yield(to[first:])
	}
}

// storedLen is at least the length of an address in the stored form, where what
// JSON or HTML has another use for takes six bytes at most.
func storedLen(address string) int {
	n := len(`"",`) + len(address)
	for i := range len(address) {
		switch c := address[i]; {
		case c < ' ', c >= 0x7f, c == '<', c == '>', c == '&', c == '"', c == '\\':
			n += 5
		}
	}
	return n
}

// tidy drops old events until ctx ends.
func (l *eventLog) tidy(ctx context.Context) {
	t := time.NewTicker(min(max(l.retention/truncations, time.Minute), time.Hour))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			err := l.store.Truncate(ctx, l.now().Add(-l.retention))
			if err != nil && ctx.Err() == nil {
				l.log.Warn("old events stay for now", logkey.Err, err)
			}
		}
	}
}

// begin notes that a consumer is followed.
func (l *eventLog) begin(consumer string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.followed[consumer] {
		return fmt.Errorf("relay: consumer %q: %w", consumer, ErrUnderWay)
	}
	l.followed[consumer] = true
	return nil
}

func (l *eventLog) end(consumer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.followed, consumer)
}

// isEnd reports whether an error of the store is one that does not pass.
func isEnd(err error) bool {
	return errors.Is(err, spool.ErrClosed) || errors.Is(err, spool.ErrFailed) ||
		errors.Is(err, spool.ErrGap)
}
