package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/callback"
	"github.com/postern-mail/postern/relay/internal/logkey"
)

// maxAbandoned bounds the calls that nobody waits for any more.
const maxAbandoned = 1000

// ErrUnanswered tells that a call was left alone: what it was given is still
// its own.
var ErrUnanswered = errors.New("no answer in time")

var (
	errAbandoned = errors.New("relay: too many calls have not returned")
	errGoexit    = errors.New("runtime.Goexit was called")
)

// Calls lets nobody wait for a function of the application that ignores its
// context, and keeps its panics to itself. It is safe for concurrent use.
type Calls struct {
	log       *slog.Logger
	grace     time.Duration
	abandoned atomic.Int64
}

// NewCalls returns Calls without one under way. The log learns of panics. What
// heeds its context has as long as grace to return when that has ended.
func NewCalls(log *slog.Logger, grace time.Duration) *Calls {
	return &Calls{log: log, grace: grace}
}

// Abandoned counts the calls that nobody waits for and that have not returned.
func (c *Calls) Abandoned() int { return int(c.abandoned.Load()) }

// Call waits for the answer of f until ctx ends. An error means that there was
// none: f was left alone, has panicked or ended its goroutine, or was not asked
// because too many have been left alone. What is called, and for whom, is for
// the log.
func Call[T any](
	ctx context.Context, c *Calls, what string, whom slog.Attr, f func() (T, error),
) (T, error) {
	var none T
	if c.abandoned.Load() >= maxAbandoned {
		return none, errAbandoned
	}
	a := &outcome[T]{err: errGoexit, given: make(chan struct{}, 1)}
	go callback.Run(func() { a.ask(c, what, whom, f) })
	select {
	case <-a.given:
		return a.value, a.err
	case <-ctx.Done():
	}
	if c.grace > 0 {
		t := time.NewTimer(c.grace)
		defer t.Stop()
		select {
		case <-a.given:
			return a.value, a.err
		case <-t.C:
		}
	}
	c.abandoned.Add(1)
	if a.over.CompareAndSwap(false, true) {
		return none, fmt.Errorf("relay: %s: %w: %w", what, ErrUnanswered, ctx.Err())
	}
	c.abandoned.Add(-1)
	<-a.given
	return a.value, a.err
}

// outcome is what a call comes to.
type outcome[T any] struct {
	value T
	err   error
	given chan struct{}
	over  atomic.Bool // the call has returned, or nobody waits for it
}

// ask makes the call.
func (a *outcome[T]) ask(c *Calls, what string, whom slog.Attr, f func() (T, error)) {
	defer func() {
		v := recover()
		if v == nil && a.err == errGoexit {
			v = errGoexit
		}
		if v != nil {
			p := delivery.Recovered(v)
			a.err = fmt.Errorf("relay: the call panicked: %w", p)
			c.log.LogAttrs(context.Background(), slog.LevelError, "panic in "+what, whom,
				slog.String(logkey.Panic, fmt.Sprint(v)), slog.String(logkey.Stack, p.Stack))
		}
		if a.over.CompareAndSwap(false, true) {
			a.given <- struct{}{}
			return
		}
		c.abandoned.Add(-1)
	}()
	a.value, a.err = f()
}

// AnswerLimit is how long a Policy function, a look-up of a recipient or of a
// name, or a Quota may take. A client waits longer (RFC 5321 section 4.5.3.2).
const AnswerLimit = time.Minute

// Ask calls f with a context of its own that ends after AnswerLimit.
func Ask[T any](
	ctx context.Context, c *Calls, what string, whom slog.Attr,
	f func(context.Context) (T, error),
) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, AnswerLimit)
	defer cancel()
	return Call(ctx, c, what, whom, func() (T, error) { return f(ctx) })
}

// AskOnly is Ask for a function that only says no.
func AskOnly(
	ctx context.Context, c *Calls, what string, whom slog.Attr, f func(context.Context) error,
) error {
	_, err := Ask(ctx, c, what, whom,
		func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

// ErrLeftAlone tells that a Policy function still has what it was given.
var ErrLeftAlone = errors.New("relay: a Policy function was left alone")

// Consult asks a function of the application about a session.
func (c *Calls) Consult(ctx context.Context, session string, f func(context.Context) error) error {
	err := AskOnly(ctx, c, "a Policy function", slog.String(logkey.Session, session), f)
	if errors.Is(err, ErrUnanswered) {
		return fmt.Errorf("%w: %w", ErrLeftAlone, err)
	}
	return err
}
