package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

var (
	// ErrPressure answers Submit when there is no room for more: the queue, the
	// memory or the disk is as full as Config.Pressure allows. The error is
	// also a *ReplyError, 452 4.3.1.
	ErrPressure = errors.New("relay: no room for more mail now")
	// ErrStore stands in the error of Submit when the spool failed. It wraps
	// the spool's own.
	ErrStore = errors.New("relay: the spool failed")
	// ErrKeyReused answers Submit with a Key that another message of the same
	// Identity and Stream has used. The error is also a *ReplyError, 550 5.5.4.
	ErrKeyReused = errors.New("relay: the idempotency key belongs to another message")
)

// submitError gives callers of Submit the exported error types. Errors of the
// content's reader and of the store stay what they are.
func submitError(err error) error {
	r, ok := errors.AsType[*policy.Reply](err)
	switch {
	case !ok:
		return err
	case r.Code == 452 && r.Enhanced == "4.3.1":
		return &ReplyError{
			Code: r.Code, Enhanced: r.Enhanced, Text: r.Text,
			Err: fmt.Errorf("%w: %w", ErrPressure, r.Cause),
		}
	}
	return replyError(r)
}

// storeError marks an error of the store as such.
func storeError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrStore, err)
}

// marking is a store whose errors are told from those of a content's reader.
type marking struct{ spool.Store }

func (s marking) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	w, err := s.Store.Create(ctx, id)
	if err != nil {
		return nil, storeError(err)
	}
	return markingWriter{w}, nil
}

type markingWriter struct{ spool.Writer }

func (w markingWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	return n, storeError(err)
}

func (w markingWriter) Commit(ctx context.Context, c spool.Commit) error {
	return storeError(w.Writer.Commit(ctx, c))
}
