package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	// turnTTL is how long a process that says nothing keeps its turn, and
	// turnBeat how often it says something.
	turnTTL  = 30 * time.Second
	turnBeat = turnTTL / 4
	// turnPoll is how often those who stand by ask.
	turnPoll = 2 * time.Second
	// beatLimit is how long the store may take to answer.
	beatLimit = 5 * time.Second
)

// errTurnOver tells that another process follows the consumer from now on.
var errTurnOver = errors.New("relay: another process follows the consumer")

// turns are those of one Follow, among the processes that share a store: who
// has been there for longest follows. Where the store is one process's alone,
// there is one turn, without an end.
type turns struct {
	nodes    spool.Nodes // nil for a store of one process
	consumer string
	member   string
	log      *slog.Logger
}

func newTurns(nodes spool.Nodes, consumer string, log *slog.Logger) *turns {
	return &turns{nodes: nodes, consumer: consumer, member: rand.Text(), log: log}
}

// next waits for a turn.
func (s *turns) next(ctx context.Context) (*turn, error) {
	if s.nodes == nil {
		return newTurn(ctx), nil
	}
	for {
		asked := time.Now()
		first, err := s.beat(ctx, turnTTL)
		switch {
		case err != nil:
			return nil, err
		case first:
			s.log.Info("this process follows the events", logkey.Consumer, s.consumer)
			t := newTurn(ctx)
			t.beats.Go(func() { s.prolong(t, asked) })
			return t, nil
		case !pause(ctx, turnPoll):
			return nil, ctx.Err()
		}
	}
}

// prolong keeps the turn, whatever its holder does, until it is ended, another
// process has it, or no beat has reached the store for turnTTL.
func (s *turns) prolong(t *turn, asked time.Time) {
	late := time.AfterFunc(time.Until(asked.Add(turnTTL)), t.cancel)
	defer late.Stop()
	for rest := turnBeat; pause(t.ctx, rest); {
		asked := time.Now()
		first, err := s.beat(t.ctx, turnTTL)
		switch {
		case t.ctx.Err() != nil:
		case err != nil:
			rest = followPause
			s.log.Warn("the store does not hear that this process follows the events",
				logkey.Consumer, s.consumer, logkey.Err, err)
		case !first:
			t.cancel()
		default:
			rest = turnBeat
			late.Reset(time.Until(asked.Add(turnTTL)))
		}
	}
}

// leave lets others have their turn at once.
func (s *turns) leave(ctx context.Context) {
	if s.nodes == nil {
		return
	}
	if _, err := s.beat(context.WithoutCancel(ctx), 0); err != nil && !isEnd(err) {
		s.log.Warn("others wait until they may follow the events",
			logkey.Consumer, s.consumer, logkey.Err, err)
	}
}

// beat tells the store that this process is there, and asks whether it is
// first.
func (s *turns) beat(ctx context.Context, ttl time.Duration) (first bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, beatLimit)
	defer cancel()
	rank, _, err := s.nodes.Beat(ctx, "follow/"+s.consumer, s.member, ttl)
	return rank == 0, err
}

// turn is the time in which one process follows.
type turn struct {
	ctx    context.Context // ends with the turn, not with Follow's
	cancel context.CancelFunc
	beats  sync.WaitGroup
}

func newTurn(ctx context.Context) *turn {
	t := new(turn)
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return t
}

// over reports whether another process may follow.
func (t *turn) over() bool { return t.ctx.Err() != nil }

// end gives the turn up. No beat is under way when it returns.
func (t *turn) end() {
	t.cancel()
	t.beats.Wait()
}

// within returns a context that ends with ctx or with the turn.
func (t *turn) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(t.ctx, func() { cancel(errTurnOver) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
