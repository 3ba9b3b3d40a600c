package connector_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// refusals is a log that keeps the lines on refusals.
type refusals struct{ player *player }

func (r *refusals) Enabled(context.Context, slog.Level) bool { return true }

func (r *refusals) WithAttrs([]slog.Attr) slog.Handler { return r }

func (r *refusals) WithGroup(string) slog.Handler { return r }

func (r *refusals) Handle(_ context.Context, line slog.Record) error {
	p := r.player
	p.mu.Lock()
	defer p.mu.Unlock()
	switch line.Message {
	case "refused":
		var e event.Event
		line.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "code":
				e.Code = int(a.Value.Int64())
			case "enhanced":
				e.Enhanced = a.Value.String()
			case "reason":
				e.Reason = a.Value.String()
			case "stage":
				e.Stage = event.Stage(a.Value.String())
			case "connector":
				e.Connector = a.Value.String()
			}
			return true
		})
		p.logged = append(p.logged, e)
	}
	return nil
}

// recorder is a store that keeps a copy of what is committed.
type recorder struct {
	spool.Store
	player *player
}

func (r *recorder) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	w, err := r.Store.Create(ctx, id)
	if err != nil {
		return nil, err
	}
	return &recording{Writer: w, player: r.player}, nil
}

type recording struct {
	spool.Writer
	player *player
	b      bytes.Buffer
}

func (r *recording) Write(b []byte) (int, error) {
	r.b.Write(b)
	return r.Writer.Write(b)
}

func (r *recording) Commit(ctx context.Context, c spool.Commit) error {
	kept := commit{Commit: c, content: string(c.Prepend) + r.b.String()}
	r.player.mu.Lock()
	r.player.commits = append(r.player.commits, kept)
	r.player.mu.Unlock()
	return r.Writer.Commit(ctx, c)
}

// noDNS is a resolver that never has an answer, so that mail for other hosts
// waits.
type noDNS struct{ delivery.Resolver }

func (noDNS) LookupMX(context.Context, string) (a delivery.Answer[*net.MX], err error) {
	return a, errNoDNS
}

var errNoDNS = errors.New("no DNS here")
