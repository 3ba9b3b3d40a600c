package relay

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

// hand gives a batch to the function until it takes it, and moves behind it.
func (w *follower) hand(ctx context.Context, t *turn, batch []spool.Logged) error {
	events, next := w.parse(batch)
	again := false
	err := w.persist(ctx, "a consumer failed; it gets the same events again", func() error {
		if again {
			if err := w.pass(ctx, &events); err != nil {
				return err
			}
		}
		again = true
		return w.call(ctx, events)
	})
	if err != nil {
		return err
	}
	return w.persist(ctx, "the place in the log cannot be kept", func() error {
		return w.keep(ctx, t, next)
	})
}

// pass leaves out those events behind which the function has moved the place in
// a transaction of its own.
func (w *follower) pass(ctx context.Context, events *[]event.Event) error {
	place, err := w.store.Cursor(ctx, w.consumer)
	if err != nil {
		return err
	}
	for len(*events) > 0 && (*events)[0].Cursor <= uint64(place) {
		*events = (*events)[1:]
	}
	return nil
}

// keep moves the place up to next. It goes by what the store says: who has
// moved the place further, or back to read again, is not overruled.
func (w *follower) keep(ctx context.Context, t *turn, next spool.Cursor) error {
	if t.over() {
		return errTurnOver
	}
	// What was taken is noted, also when ctx has just ended.
	ctx, cancel := t.within(context.WithoutCancel(ctx))
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, settleLimit)
	defer cancel()
	place, err := w.store.Cursor(ctx, w.consumer)
	if err == nil && place >= w.kept && place < next {
		place, err = next, w.store.Advance(ctx, w.consumer, next)
	}
	if err == nil {
		w.at, w.kept = place, place
	}
	return err
}

// parse reads as many records as a batch may have, and returns the place behind
// them.
func (w *follower) parse(batch []spool.Logged) (events []event.Event, next spool.Cursor) {
	events, size := make([]event.Event, 0, len(batch)), 0
	for _, rec := range batch {
		if size += len(rec.Data); size > followBytes && len(events) > 0 {
			break
		}
		next = rec.At
		e, err := event.Parse(rec.Data)
		if err != nil {
			w.log.Error("an event is damaged and passed", logkey.Consumer, w.consumer,
				logkey.Cursor, uint64(rec.At), logkey.Err, err)
			continue
		}
		e.Cursor = uint64(rec.At)
		events = append(events, e)
	}
	return events, next
}

// errPanickedFollower stands for a panic that is in the log.
var errPanickedFollower = errors.New("relay: the consumer panicked")

// call hands the events to the function, if there are any. Its error is never
// mistaken for one of the store.
func (w *follower) call(ctx context.Context, events []event.Event) (err error) {
	if len(events) == 0 {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			w.log.Error("panic in a consumer", logkey.Consumer, w.consumer,
				logkey.Panic, fmt.Sprint(v), logkey.Stack, string(debug.Stack()))
			err = errPanickedFollower
		}
	}()
	if err := w.f(ctx, events); err != nil {
		return errors.New(err.Error())
	}
	return nil
}
