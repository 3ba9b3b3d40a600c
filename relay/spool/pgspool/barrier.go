package pgspool

import (
	"context"
	"math"
)

// barrierRows are the rows of counter that barriers write, so that one does not
// wait for another.
const barrierRows = 4

// barrier waits until all that was committed before is as durable as what the
// store commits: it writes something behind that. Others may have committed
// without waiting, and a commit that waits for a standby goes on without when
// it is broken off.
func (s *Store) barrier(ctx context.Context) error {
	n := math.MaxInt32 - int(s.barriers.Add(1)%barrierRows)
	_, err := s.exec(ctx, s.pool, `
INSERT INTO @counter AS c (node, n, messages, deliveries, bytes)
SELECT $1::uuid, $2, 0, 0, 0 FROM (SELECT @durable() OFFSET 0) d
ON CONFLICT (node, n) DO UPDATE SET messages = c.messages`, s.node, n)
	return err
}
