package spool

import (
	"context"
	"time"
)

// Nodes is an optional interface of a Store that several processes share. It
// knows which of them are alive.
type Nodes interface {
	// Beat tells that a member of a group is alive for ttl from now on, by the
	// store's clock. It returns how many members are, this one among them, and
	// its rank: 0 is that of who has been alive for longest without a break. A
	// ttl of zero or less ends the membership at once; it returns zeros.
	Beat(ctx context.Context, group, member string, ttl time.Duration) (rank, live int, err error)
	// Live returns how many members of a group are alive, without joining it; 0
	// for a group that nobody is in.
	Live(ctx context.Context, group string) (int, error)
}
