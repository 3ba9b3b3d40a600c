package attempt

import (
	"context"
	"log/slog"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/logkey"
)

// logFate writes the line of what an attempt came to for a recipient, which is
// at Info for a failure, and for the first deferral of a message.
func logFate(log *slog.Logger, e *event.Event, first bool) {
	level := slog.LevelDebug
	if e.Kind == event.Bounced || e.Kind == event.Expired ||
		e.Kind == event.Poisoned || e.Kind == event.Deferred && first {
		level = slog.LevelInfo
	}
	ctx := context.Background()
	if !log.Enabled(ctx, level) {
		return
	}
	line := make(line, 0, 13)
	line.text(logkey.QueueID, e.QueueID)
	line.text(logkey.Connector, e.Connector)
	line.text(logkey.From, e.From)
	line.text(logkey.To, e.To[0])
	line.number(logkey.Attempt, e.Attempt)
	line.text(logkey.Host, e.Host)
	line.number(logkey.Code, e.Code)
	line.text(logkey.Enhanced, e.Enhanced)
	line.text(logkey.Class, string(e.Class))
	if e.Code != 0 || e.Kind == event.Delivered {
		line.text(logkey.Reply, e.Text)
	} else {
		line.text(logkey.Err, e.Text)
	}
	if !e.Next.IsZero() {
		line = append(line, slog.Time(logkey.Next, e.Next))
	}
	line.text(logkey.Report, e.Report)
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

// tellDamaged writes that nobody gets a copy any more.
func tellDamaged(log *slog.Logger, queueID, to string, err error) {
	log.Error("message cannot be read any more", logkey.QueueID, queueID, logkey.To, to,
		logkey.Err, err)
}
