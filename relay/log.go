package relay

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// logger returns the relay's log.
func logger(cfg Config) *slog.Logger {
	if cfg.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(safeHandler{cfg.Logger.Handler()})
}

// safeHandler keeps the panics of an application's handler from whoever logs.
type safeHandler struct{ slog.Handler }

// Enabled implements [slog.Handler].
func (h safeHandler) Enabled(ctx context.Context, l slog.Level) (enabled bool) {
	defer func() {
		if v := recover(); v != nil {
			h.panicked(ctx, v)
		}
	}()
	return h.Handler.Enabled(ctx, l)
}

// Handle implements [slog.Handler].
func (h safeHandler) Handle(ctx context.Context, r slog.Record) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("relay: the log's handler panicked: %v", v)
			h.panicked(ctx, v)
		}
	}()
	return h.Handler.Handle(ctx, r)
}

// panicked tells the handler of its panic, which may have come from one record only.
func (h safeHandler) panicked(ctx context.Context, v any) {
	stack := string(debug.Stack())
	defer func() { _ = recover() }()
	r := slog.NewRecord(time.Now(), slog.LevelError, "panic in the log's handler", 0)
	r.AddAttrs(slog.String("panic", fmt.Sprint(v)), slog.String("stack", stack))
	_ = h.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h safeHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return safeHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (h safeHandler) WithGroup(name string) slog.Handler {
	return safeHandler{h.Handler.WithGroup(name)}
}
