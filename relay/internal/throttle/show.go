package throttle

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/internal/logkey"
)

// idOf makes an id: of what the throttle is for, and when it began.
func idOf(st *state) string {
	s := &st.scope
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q %d",
		s.class, s.Site, s.Source, s.Stream, s.Sender, st.begun.UnixNano()))
	id := base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:10])
	return strings.ToLower(id)
}

// show is a throttle as others see it.
func (s *state) show(now time.Time) *Throttle {
	t := &Throttle{
		ID: s.id, Class: s.scope.class, Place: s.scope.Place, Begun: s.begun, Until: s.ends(),
		Times: s.times, Cause: s.cause,
	}
	if s.slower > 0 {
		t.Share = float64(s.share(now)) / full
	}
	return t
}

// tellBegun tells the log that a throttle has begun, was renewed or halved.
func (t *Throttles) tellBegun(of *Throttle) {
	words := "destination refuses; its mail rests"
	if of.Share > 0 {
		words = "destination refuses; mail to it is slowed down"
	}
	line := append(of.line(),
		slog.Duration(logkey.Pause, time.Until(of.Until)), slog.Int(logkey.Code, of.Cause.Code),
		slog.String(logkey.Host, of.Cause.Host), slog.String(logkey.Reply, of.Cause.Text))
	if of.Share > 0 {
		line = append(line, slog.Float64(logkey.Share, of.Share))
	}
	t.log.LogAttrs(context.Background(), slog.LevelWarn, words, line...)
}

// tellEnded tells the log that a throttle has ended.
func (t *Throttles) tellEnded(of *ended) {
	t.log.LogAttrs(context.Background(), slog.LevelInfo, "throttle ended",
		append(of.line(), slog.String(logkey.Reason, of.why))...)
}

// line is what each line of the log says of a throttle.
func (t *Throttle) line() []slog.Attr {
	line := []slog.Attr{
		slog.String(logkey.Throttle, t.ID), slog.String(logkey.Class, string(t.Class)),
	}
	for _, a := range []slog.Attr{
		slog.String(logkey.Site, t.Site), slog.String(logkey.Source, t.Source),
		slog.String(logkey.Stream, t.Stream), slog.String(logkey.Sender, t.Sender),
	} {
		if a.Value.String() != "" {
			line = append(line, a)
		}
	}
	return line
}
