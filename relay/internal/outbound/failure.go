package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/postern-mail/postern/relay/delivery"
)

var (
	errHelo       = errors.New("EHLO name not fit for the wire")
	errOutOfPlace = errors.New("reply out of place")
	errNotReady   = fmt.Errorf("no host was ready: %w", os.ErrDeadlineExceeded)
	errCrashed    = errors.New("crashed while it connected")
	errNoPlace    = fmt.Errorf("no connection came free: %w", os.ErrDeadlineExceeded)
)

// temporary is a failure of this side's finding that may pass.
func temporary(op delivery.Op, enhanced string, err error) *delivery.Error {
	return &delivery.Error{Op: op, Reply: delivery.Reply{Enhanced: enhanced}, Err: err}
}

// permanent is one for good.
func permanent(op delivery.Op, enhanced string, err error) *delivery.Error {
	e := temporary(op, enhanced, err)
	e.Permanent = true
	return e
}

// at puts the host into a failure.
func at(host string, e *delivery.Error) *delivery.Error {
	e.Host = host
	return e
}

// refused is the failure of a step that a reply ends.
func refused(op delivery.Op, rep *reply) *delivery.Error {
	e := &delivery.Error{Op: op, Reply: rep.copied(), Permanent: rep.class() == 5}
	if rep.class() != 4 && rep.class() != 5 {
		e.Err = errOutOfPlace
	}
	return e
}

// lost is the failure of a connection that broke, or was given up because ctx
// ended.
func lost(ctx context.Context, op delivery.Op, enhanced string, err error) *delivery.Error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return temporary(op, enhanced, err)
}

// crowded tells whether a failure may be about the number of connections: the
// peer let this one in and then would not serve it, or refused it at once.
func crowded(e *delivery.Error) bool {
	const greeting, ehlo, mail = delivery.OpGreeting, delivery.OpEHLO, delivery.OpMail
	switch code := e.Reply.Code; {
	case e.Op == delivery.OpDial:
		return errors.Is(e.Err, syscall.ECONNREFUSED)
	case e.Op == greeting && code != 0:
		return true // also 554: what it serves others with, it refused nobody
	case e.Permanent || e.Op != greeting && e.Op != ehlo && e.Op != mail:
		return false
	case code != 0:
		return e.Op != mail || code == 421 || code == 432
	}
	n, ok := errors.AsType[net.Error](e.Err)
	return (!ok || !n.Timeout()) && !errors.Is(e.Err, errHelo)
}

// failedArgs tells the log of a connection that failed.
func failedArgs(failed *delivery.Error) []any {
	args := []any{"host", failed.Host, "op", failed.Op}
	if failed.Reply.Code != 0 {
		args = append(args, "code", failed.Reply.Code, "reply", failed.Reply.Text)
	}
	if failed.Err != nil {
		args = append(args, "err", failed.Err)
	}
	return args
}
