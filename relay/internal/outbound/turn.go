package outbound

import (
	"context"
	"time"
)

// leastTurn is what an address leaves each of those behind it of the time for
// all, unless they are too many.
const leastTurn = 10 * time.Second

// turn bounds what one address, or the look-up of one host, may take of the
// time that ctx leaves for all: as many as are behind it get their turn in any
// case.
func turn(ctx context.Context, behind int) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok || behind == 0 {
		return context.WithCancel(ctx)
	}
	left := time.Until(end)
	mine := max(left-time.Duration(behind)*leastTurn, left/time.Duration(behind+1))
	return context.WithTimeoutCause(ctx, mine, errNotReady)
}
