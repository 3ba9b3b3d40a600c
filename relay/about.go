package relay

import (
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// aboutMessage is an event of a message as the queue knows it, by its id as
// text.
func aboutMessage(queueID string, m *spool.Message, now time.Time) event.Event {
	e := event.Event{
		Time: now, QueueID: queueID, ReportOf: idText(m.ReportOf), Stream: m.Stream,
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
