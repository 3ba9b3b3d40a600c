package attempt

import (
	"context"
	"log/slog"

	"github.com/postern-mail/postern/relay/event"
)

// logFate writes the line of what an attempt came to for a recipient, which is
// at Info for a failure, and for the first deferral of a message.
func logFate(log *slog.Logger, e *event.Event, first bool) {
	level := slog.LevelDebug
	if e.Kind == event.Bounced || e.Kind == event.Expired || e.Kind == event.Deferred && first {
		level = slog.LevelInfo
	}
	ctx := context.Background()
	if !log.Enabled(ctx, level) {
		return
	}
	line := make(line, 0, 12)
	line.text("queue_id", e.QueueID)
	line.text("connector", e.Connector)
	line.text("from", e.From)
	line.text("to", e.To[0])
	line.number("attempt", e.Attempt)
	line.text("host", e.Host)
	line.number("code", e.Code)
	line.text("enhanced", e.Enhanced)
	if e.Code != 0 || e.Kind == event.Delivered {
		line.text("reply", e.Text)
	} else {
		line.text("err", e.Text)
	}
	if !e.Next.IsZero() {
		line = append(line, slog.Time("next", e.Next))
	}
	line.text("report", e.Report)
	log.LogAttrs(ctx, level, e.Kind.String(), line...)
}

// line is a line of the log, without empty attributes.
type line []slog.Attr

func (l *line) text(key, value string) {
	if value != "" {
		*l = append(*l, slog.String(key, value))
	}
}

func (l *line) number(key string, n int) {
	if n != 0 {
		*l = append(*l, slog.Int(key, n))
	}
}
