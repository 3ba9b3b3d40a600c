package relay

import (
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// fate is what a settlement comes to for a recipient: its event, which is made
// before the settlement, so that the store keeps it in the same step.
type fate struct {
	event.Event
	again bool // the recipient was deferred before
}

// settled completes the events of a settlement.
func settled(fates []fate, l *spool.Lease, attempt int) {
	now := time.Now()
	for i := range fates {
		e := &fates[i].Event
		about := aboutMessage(&l.Message, now)
		about.Kind, about.To, about.Attempt = e.Kind, e.To, attempt
		about.Code, about.Enhanced, about.Text = e.Code, e.Enhanced, e.Text
		about.Host, about.Next, about.Report = e.Host, e.Next, e.Report
		about.Identify()
		*e = about
	}
}

// reported returns the events with the id of the report where one was due.
func reported(fates []fate, report string) []event.Event {
	events := make([]event.Event, len(fates))
	for i := range fates {
		if events[i] = fates[i].Event; events[i].Report != "" {
			events[i].Report = report
		}
	}
	return events
}

// fates returns what the log keeps of a settlement: each fate, and each
// recipient's first deferral.
func (l *eventLog) fates(fates []fate, report string) []spool.Record {
	if l == nil {
		return nil
	}
	var records []spool.Record
	for i, e := range reported(fates, report) {
		if e.Kind.Fate() || !fates[i].again {
			records = append(records, l.records(e)...)
		}
	}
	return records
}

// aboutMessage is an event of a message as the queue knows it.
func aboutMessage(m *spool.Message, now time.Time) event.Event {
	e := event.Event{
		Time: now, QueueID: m.ID.String(), ReportOf: idText(m.ReportOf), Stream: m.Stream,
		Connector: m.Origin.Connector, User: m.Origin.User, From: m.From, Size: m.Size,
		Labels: m.Labels,
	}
	if !m.Created.IsZero() {
		e.Delay = max(now.Sub(m.Created), 0)
	}
	return e
}

// idText is an id as text; empty for none.
func idText(id spool.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}
