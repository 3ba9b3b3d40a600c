package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern-mail/postern/examples/internal/loopback"
	"github.com/postern-mail/postern/examples/internal/smtpload"
)

// queued fills the queues while the next hop is down.
func (b *bench) queued(ctx context.Context) error {
	l := smtpload.Load{Sessions: 20, Size: 10 << 10, Messages: max(20, b.messages(10_000))}
	title := fmt.Sprintf("(queued) next hop down, %d × 10 KB queued", l.Messages)
	return b.rivals(ctx, title, nil, func(
		ctx context.Context, name, dir string,
	) (f figures, err error) {
		down, err := loopback.FreeAddr()
		if err != nil {
			return f, err
		}
		set, err := (&hop{addr: down}).ready(comparison{})
		if err != nil {
			return f, err
		}
		set.eventLog = b.eventLog
		s, err := b.start(ctx, name, dir, set)
		if err != nil {
			return f, err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		return meter(ctx, s, l.Messages, func() error { return l.Send(ctx, set.relay) }, nil)
	})
}
