package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay"
)

const (
	flushEvery = 20 * time.Millisecond // at most one write in this time
	maxPending = 1 << 20               // bytes; then the relay waits for the reader
)

// eventLog writes events as JSON Lines. The relay's goroutines append to a buffer; one
// goroutine writes it out, so a burst of events costs few writes.
type eventLog struct {
	w   io.Writer
	log *slog.Logger

	mu      sync.Mutex
	room    sync.Cond // pending was taken
	pending []byte
	failed  bool // the writer; then events are dropped
	wake    chan struct{}
	quit    chan struct{}
	done    chan struct{}
}

func newEventLog(w io.Writer, log *slog.Logger) *eventLog {
	l := &eventLog{w: w, log: log, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	l.room.L = &l.mu
	go l.run()
	return l
}

// Add queues an event. It waits when the reader is far behind.
func (l *eventLog) Add(e relay.Event) {
	l.mu.Lock()
	for len(l.pending) > maxPending && !l.failed {
		l.room.Wait()
	}
	if !l.failed {
		l.pending = appendEvents(l.pending, &e)
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close writes out what is left.
func (l *eventLog) Close() {
	close(l.quit)
	<-l.done
}

func (l *eventLog) run() {
	defer close(l.done)
	var spare []byte
	for running := true; running; {
		select {
		case <-l.wake:
		case <-l.quit:
			running = false
		}
		l.mu.Lock()
		batch := l.pending
		l.pending = spare[:0]
		l.room.Broadcast()
		l.mu.Unlock()
		spare = batch
		if len(batch) > 0 {
			if _, err := l.w.Write(batch); err != nil {
				l.log.Error("cannot write events; there will be no more", "err", err)
				l.mu.Lock()
				l.failed = true
				l.room.Broadcast()
				l.mu.Unlock()
				return
			}
			select {
			case <-time.After(flushEvery):
			case <-l.quit:
			}
		}
	}
}

// appendEvents appends a line for each recipient the event is about, or one if it is about none.
func appendEvents(b []byte, e *relay.Event) []byte {
	if len(e.To) == 0 {
		return appendEvent(b, e, "")
	}
	for _, to := range e.To {
		b = appendEvent(b, e, to)
	}
	return b
}

// appendEvent appends one line. It is written by hand because it runs several times for each message.
func appendEvent(b []byte, e *relay.Event, to string) []byte {
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","type":"`...)
	b = append(b, e.Kind.String()...)
	b = append(b, '"')
	b = appendText(b, "queue_id", e.QueueID)
	b = appendText(b, "connector", e.Connector)
	if e.Remote.IsValid() {
		b = append(b, `,"remote":"`...)
		b = e.Remote.AppendTo(b)
		b = append(b, '"')
	}
	b = appendText(b, "user", e.User)
	b = appendText(b, "credential", e.Credential)
	// The null sender is a sender too: an event of a message always has one.
	if e.From != "" || e.QueueID != "" {
		b = append(b, `,"from":`...)
		b = appendString(b, e.From)
	}
	b = appendText(b, "to", to)
	if e.Code != 0 {
		b = append(b, `,"code":`...)
		b = strconv.AppendInt(b, int64(e.Code), 10)
	}
	b = appendText(b, "enhanced", e.Enhanced)
	b = appendText(b, "text", e.Text)
	b = appendText(b, "host", e.Host)
	if e.Attempt != 0 {
		b = append(b, `,"attempt":`...)
		b = strconv.AppendInt(b, int64(e.Attempt), 10)
	}
	return append(b, '}', '\n')
}

func appendText(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":`...)
	return appendString(b, value)
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always marshals
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
