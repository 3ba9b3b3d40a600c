package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/postern-mail/postern/relay/event"
)

// maxPending bounds the events that wait for their reader, in octets.
const maxPending = 16 << 20

// eventLog writes events as JSON Lines.
type eventLog struct{ *outlet }

func newEventLog(w io.Writer, log *slog.Logger) eventLog {
	gap := func(n int) []byte {
		b := time.Now().UTC().AppendFormat([]byte(`{"time":"`), time.RFC3339Nano)
		b = append(b, `","type":"lost","count":`...)
		return append(strconv.AppendInt(b, int64(n), 10), '}', '\n')
	}
	return eventLog{newOutlet(w, maxPending, gap, log)}
}

// Add queues an event. It never waits for the reader.
func (l eventLog) Add(e event.Event) {
	l.add(max(len(e.To), 1), func(b []byte) []byte { return appendEvents(b, &e) })
}

// appendEvents appends a line for each recipient the event is about, or one if
// it is about none.
func appendEvents(b []byte, e *event.Event) []byte {
	if len(e.To) == 0 {
		return appendEvent(b, e, "")
	}
	for _, to := range e.To {
		b = appendEvent(b, e, to)
	}
	return b
}

// appendEvent appends one line. It is written by hand because it runs several
// times for each message.
func appendEvent(b []byte, e *event.Event, to string) []byte {
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","type":"`...)
	b = append(b, e.Kind.String()...)
	b = append(b, '"')
	b = appendText(b, "queue_id", e.QueueID)
	b = appendText(b, "connector", e.Connector)
	b = appendText(b, "stream", e.Stream)
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
	b = appendText(b, "stage", string(e.Stage))
	b = appendText(b, "command", e.Command)
	b = appendText(b, "reason", e.Reason)
	if e.Code != 0 {
		b = append(b, `,"code":`...)
		b = strconv.AppendInt(b, int64(e.Code), 10)
	}
	b = appendText(b, "enhanced", e.Enhanced)
	b = appendText(b, "text", e.Text)
	b = appendText(b, "host", e.Host)
	b = appendText(b, "class", string(e.Class))
	b = appendText(b, "site", e.Site)
	b = appendText(b, "throttle", e.Throttle)
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
