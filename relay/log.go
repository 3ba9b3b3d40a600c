package relay

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/postern-mail/postern/relay/internal/callback"
	"github.com/postern-mail/postern/relay/internal/logkey"
)

// logger returns the relay's log.
func logger(cfg Config) *slog.Logger {
	if cfg.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(safeHandler{cfg.Logger.Handler()})
}

// attributes are those of a log line, without the empty ones.
type attributes []slog.Attr

func (a attributes) text(key, value string) attributes {
	if value == "" {
		return a
	}
	return append(a, slog.String(key, value))
}

func (a attributes) number(key string, n int) attributes {
	if n == 0 {
		return a
	}
	return append(a, slog.Int(key, n))
}

func (a attributes) addr(key string, addr netip.Addr) attributes {
	if !addr.IsValid() {
		return a
	}
	return append(a, slog.Any(key, addr))
}

// session adds what a line says of a client.
func (a attributes) session(v *Session, user, credential string) attributes {
	a = a.text(logkey.Session, v.ID)
	if v.Connector != nil {
		a = a.text(logkey.Connector, v.Connector.Name)
	} else if v.Local.IsValid() {
		a = append(a, slog.Any(logkey.Local, v.Local))
	}
	a = a.addr(logkey.Remote, v.Remote.Addr())
	a = a.addr(logkey.Proxy, v.Proxy.Addr())
	a = a.text(logkey.TLS, v.tlsText)
	a = a.text(logkey.Certificate, v.certificate)
	a = a.text(logkey.User, user)
	return a.text(logkey.Credential, credential)
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
	callback.Run(func() { enabled = h.Handler.Enabled(ctx, l) })
	return enabled
}

// Handle implements [slog.Handler].
func (h safeHandler) Handle(ctx context.Context, r slog.Record) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("relay: the log's handler panicked: %v", v)
			h.panicked(ctx, v)
		}
	}()
	callback.Run(func() { err = h.Handler.Handle(ctx, r) })
	return err
}

// panicked tells the handler of its panic, which may have come from one record
// only.
func (h safeHandler) panicked(ctx context.Context, v any) {
	stack := string(debug.Stack())
	defer func() { _ = recover() }()
	r := slog.NewRecord(time.Now(), slog.LevelError, "panic in the log's handler", 0)
	r.AddAttrs(slog.String(logkey.Panic, fmt.Sprint(v)), slog.String(logkey.Stack, stack))
	callback.Run(func() { _ = h.Handler.Handle(ctx, r) })
}

// WithAttrs implements [slog.Handler].
func (h safeHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return safeHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (h safeHandler) WithGroup(name string) slog.Handler {
	return safeHandler{h.Handler.WithGroup(name)}
}
