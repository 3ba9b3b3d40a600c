package relay

import (
	"context"
	"errors"
	"fmt"
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
	return &eventLog{
		store: store, retention: cfg.EventLog.Retention, log: logger(*cfg), now: now,
		followed: make(map[string]bool),
	}
}

// records returns the events as the store keeps them.
func (l *eventLog) records(events ...event.Event) []spool.Record {
	if l == nil || len(events) == 0 {
		return nil
	}
	list := make([]spool.Record, 0, len(events))
	for i := range events {
		for _, e := range partsOf(&events[i]) {
			list = append(list, spool.Record{Time: e.Time, Data: event.Append(nil, &e)})
		}
	}
	return list
}

// partsOf returns an event as one or, if it has very many recipients, as
// several, each with its own id. Long texts are cut.
func partsOf(e *event.Event) []event.Event {
	part := *e
	for _, text := range []*string{
		&part.Text, &part.Reason, &part.Host, &part.Enhanced, &part.Certificate,
	} {
		*text = cut(*text)
	}
	var parts []event.Event
	size, first := 0, 0
	for i, to := range e.To {
		n := storedLen(to)
		if size += n; size > maxEventTo && i > first {
			part.To = e.To[first:i:i]
			part.Identify()
			parts = append(parts, part)
			size, first = n, i
		}
	}
	if part.To = e.To[first:]; first > 0 || part.ID == "" {
		part.Identify()
	}
	return append(parts, part)
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
