package outbound

import (
	"context"
	"errors"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// turnPatience is how long a delivery that has sent no content waits for the
// reading turn, until it goes elsewhere.
const turnPatience = 5 * time.Second

var (
	errTurn    = errors.New("the transaction before took too long")
	errInFront = errors.New("connection lost in the transaction before")
	errEnding  = errors.New("the peer ends the connection")
)

// await waits for the reading turn. ok tells that it has come; else the verdict
// stands, and the connection is another's unless the seat says otherwise.
func (t *transaction) await(ctx context.Context, c *conn) (v verdict, ok bool) {
	s := &t.seat
	if !s.behind {
		return settled, true
	}
	var patience <-chan time.Time
	if !t.ended {
		patience = s.clock(turnPatience)
	}
	var err error
	select {
	case cn := <-s.word:
		return t.turned(ctx, c, cn != nil)
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-patience:
		err = errTurn
	}
	if !c.order.pool.drop(c, s) {
		return t.turned(ctx, c, <-s.word != nil)
	}
	t.lost = at(c.host, lost(ctx, delivery.OpMail, "4.4.2", err))
	return broken, false
}

// clock is a timer that is used again.
func (s *seat) clock(d time.Duration) <-chan time.Time {
	if s.timer == nil {
		s.timer = time.NewTimer(d)
	} else {
		s.timer.Reset(d)
	}
	return s.timer.C
}

// turned takes the word of the reading turn, and reads what those in front have
// left.
func (t *transaction) turned(ctx context.Context, c *conn, mine bool) (verdict, bool) {
	s := &t.seat
	if s.timer != nil {
		s.timer.Stop()
	}
	if !mine {
		s.gone = true
		t.ended = t.ended && !c.said421
		t.lost = at(c.host, lost(ctx, delivery.OpData, "4.4.2", errInFront))
		return broken, false
	}
	s.behind = false
	if ctx.Err() != nil { // it ended before there was anything to interrupt
		return t.stop(ctx, c, delivery.OpData, ctx.Err()), false
	}
	if c.bad.Load() && !t.ended {
		return t.stop(ctx, c, delivery.OpMail, errEnding), false
	}
	s.since = time.Now()
	for ; s.debt > 0; s.debt-- {
		if _, err := c.read(c.times.FinalTimeout, nil); err != nil {
			t.ended = t.ended && !c.said421
			return t.stop(ctx, c, delivery.OpData, err), false
		}
	}
	return settled, true
}

// cut leaves a connection to which no more can be written, ahead of the turn.
func (t *transaction) cut(ctx context.Context, c *conn, op delivery.Op, err error) verdict {
	c.bad.Store(true)
	if !c.order.pool.drop(c, &t.seat) {
		v, _ := t.turned(ctx, c, <-t.seat.word != nil)
		return v
	}
	t.lost = at(c.host, lost(ctx, op, "4.4.2", err))
	return broken
}
