package relay

import (
	"context"
	"errors"
	"fmt"
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
// panic, is logged and brings the same events again after a pause, which grows
// from a second to a minute; an event may also come again after a crash. Note
// [event.Event].ID where the work is done, best in one transaction with it.
//
// To do all work once, f keeps the place itself. Its transaction locks and
// reads the place, passes events with an [event.Event].Cursor that is not
// behind it, does the work, and moves the place to the Cursor of the last. A
// store in the application's database has its own place for that; in another
// database the number has a row of its own. What f has moved the store's place
// behind does not come again, and Follow does not move that back.
//
// Processes that share the store may all follow the same consumer: one gets the
// events, the others stand by. They take over within 2 seconds when its Follow
// returns, and within 32 when it dies or is cut off from the store: then the
// context that its f has ends. Who takes over reads the place anew. A process
// that stood still for so long may finish a batch that another has begun, and
// does its work twice unless its transaction compares the place.
//
// Follow works before, during and after [Relay.Run], until ctx ends: then it
// returns nil. It returns an error if Config.EventLog is off, if the store is
// closed or failed, or if the consumer is followed already by this Relay:
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
	w := newFollower(r.eventLog, consumer, f)
	defer w.turns.leave(ctx)
	err := w.run(ctx)
	if ctx.Err() != nil && !isEnd(err) {
		return nil
	}
	return err
}

// follower is one Follow.
type follower struct {
	*eventLog
	turns    *turns
	consumer string
	f        func(context.Context, []event.Event) error
	at       spool.Cursor // behind what was read
	kept     spool.Cursor // the place that the store keeps, as it was last known
}

func newFollower(
	l *eventLog, consumer string, f func(context.Context, []event.Event) error,
) *follower {
	return &follower{
		eventLog: l, turns: newTurns(l.nodes, consumer, l.log), consumer: consumer, f: f,
	}
}

// run follows whenever it is this process's turn.
func (w *follower) run(ctx context.Context) error {
	for {
		var t *turn
		err := w.persist(ctx, "the store does not say who follows", func() (err error) {
			t, err = w.turns.next(ctx)
			return err
		})
		if err != nil {
			return err
		}
		err = w.follow(ctx, t)
		over := t.over()
		t.end()
		if ctx.Err() != nil || isEnd(err) || !over {
			return err
		}
		w.log.Info("another process follows the events", logkey.Consumer, w.consumer)
	}
}

// follow hands over what is in the log until the turn or ctx ends.
func (w *follower) follow(ctx context.Context, t *turn) error {
	ctx, cancel := t.within(ctx)
	defer cancel()
	err := w.persist(ctx, "the place in the log cannot be read", func() (err error) {
		w.kept, err = w.store.Cursor(ctx, w.consumer)
		w.at = w.kept
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
			err = w.hand(ctx, t, batch)
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
