package relay

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/intake"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	// The most events and bytes of them that a function gets at once.
	followEvents = 200
	followBytes  = 1 << 20
	// followPause is the first pause after a failure, followRest the longest.
	followPause = time.Second
	followRest  = time.Minute
)

var (
	errNoEventLog = errors.New("relay: Config.EventLog is off: there are no events to follow")
	errNoFollower = errors.New("relay: Follow needs a function")
)

// Follow gives the events in the log to f, in batches of at most 200 events and
// 1 MiB, in the order of the log and each at least once. It goes on where the
// consumer of that name ended, in whatever process: the store keeps the place.
// A new consumer begins at the oldest event. The name is 1 to 64 letters,
// digits, hyphens, underscores and dots.
//
// When f returns nil the place moves behind the batch. An error of f, or a
// panic, is logged and brings the same batch again after a pause, which grows
// from a second to a minute; an event may also come again after a crash. Note
// [event.Event].ID where the work is done, best in one transaction with it.
//
// Follow works before, during and after [Relay.Run], until ctx ends: then it
// returns nil. It returns an error if Config.EventLog is off, if the store is
// closed or failed, or if the consumer is followed already in this process:
// [ErrUnderWay]. A consumer whose events were dropped because of their age gets
// a [*spool.GapError]. What is missing stays so; to go on behind the gap, call
// Advance of the store ([spool.Log]) with its Oldest, then Follow. A damaged
// event is logged and passed.
func (r *Relay) Follow(
	ctx context.Context, consumer string, f func(context.Context, []event.Event) error,
) error {
	switch {
	case ctx == nil:
		return errNoContext
	case f == nil:
		return errNoFollower
	case r.eventLog == nil:
		return errNoEventLog
	case !intake.IsWord(consumer):
		return invalid("consumer", consumer, errWord)
	}
	if err := r.eventLog.begin(consumer); err != nil {
		return err
	}
	defer r.eventLog.end(consumer)
	w := follower{eventLog: r.eventLog, consumer: consumer, f: f}
	err := w.run(ctx)
	if ctx.Err() != nil && !isEnd(err) {
		return nil
	}
	return err
}

// follower is one Follow.
type follower struct {
	*eventLog
	consumer string
	f        func(context.Context, []event.Event) error
	at       spool.Cursor
}

func (w *follower) run(ctx context.Context) error {
	err := w.persist(ctx, "the place in the log cannot be read", func() (err error) {
		w.at, err = w.store.Cursor(ctx, w.consumer)
		return err
	})
	for err == nil {
		more := w.store.Appended()
		var batch []spool.Logged
		err = w.persist(ctx, "the log cannot be read", func() (err error) {
			batch, err = w.read(ctx)
			return err
		})
		if err == nil && len(batch) > 0 {
			err = w.hand(ctx, batch)
		} else if err == nil {
			select {
			case <-more:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	}
	return err
}

// persist calls f until it works, with growing pauses, unless its error does
// not pass or ctx ends.
func (w *follower) persist(ctx context.Context, failure string, f func() error) error {
	for rest := followPause; ; rest = min(2*rest, followRest) {
		err := f()
		if err == nil || isEnd(err) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.log.Warn(failure, logkey.Consumer, w.consumer, logkey.Err, err, logkey.Pause, rest)
		if !pause(ctx, rest) {
			return ctx.Err()
		}
	}
}

// read returns the next records. It passes what was damaged, and begins at the
// oldest for a new consumer.
func (w *follower) read(ctx context.Context) ([]spool.Logged, error) {
	for {
		list, err := w.store.Records(ctx, w.at, followEvents)
		gap, ok := errors.AsType[*spool.GapError](err)
		if !ok {
			return list, err
		}
		oldest, _, berr := w.store.Bounds(ctx)
		switch {
		case berr != nil:
			return nil, berr
		case w.at == 0: // it has seen nothing yet
		case w.at < oldest:
			return nil, fmt.Errorf("relay: consumer %q is behind the oldest event; to go on, "+
				"advance it to %d: %w", w.consumer, gap.Oldest, err)
		default:
			w.log.Error(
				"events are damaged and passed", logkey.Consumer, w.consumer, logkey.Err, err,
			)
		}
		if gap.Oldest <= w.at {
			return nil, err
		}
		w.at = gap.Oldest
	}
}

// hand gives a batch to the function until it takes it, and moves behind it.
func (w *follower) hand(ctx context.Context, batch []spool.Logged) error {
	events, next := w.parse(batch)
	if len(events) > 0 {
		err := w.persist(ctx, "a consumer failed; it gets the same events again", func() error {
			return w.call(ctx, events)
		})
		if err != nil {
			return err
		}
	}
	err := w.persist(ctx, "the place in the log cannot be kept", func() error {
		// What was taken is noted, also when ctx has just ended.
		settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
		defer cancel()
		return w.store.Advance(settle, w.consumer, next)
	})
	w.at = next
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
		events = append(events, e)
	}
	return events, next
}

// errPanickedFollower stands for a panic that is in the log.
var errPanickedFollower = errors.New("relay: the consumer panicked")

// call hands the events to the function. Its error is never mistaken for one of
// the store.
func (w *follower) call(ctx context.Context, events []event.Event) (err error) {
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

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
