package intake

import (
	"context"
	"time"

	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/spool"
)

// Intake takes messages in by one configuration. It is safe for concurrent use.
type Intake struct {
	Rules   *policy.Rules
	Signer  *Signer
	Headers *header.Pool
	Memory  *policy.Budget // for messages being received
	Now     func() time.Time
	// Deliveries says where the copies go.
	Deliveries func(
		rcpts []routing.Recipient, stream string, size int64, now time.Time,
	) []spool.Delivery
	// Claimed looks an idempotency key up, as spool.Keys does. Nil where the
	// store keeps none.
	Claimed func(ctx context.Context, scope, key string) (
		id spool.ID, digest [32]byte, ok bool, err error,
	)
	// KeyReused is the cause of the refusal of a key that is another message's.
	KeyReused error
}

// Create begins a message in a store; it is [spool.Store].Create, or one that
// holds the content for a commit by somebody else.
type Create func(ctx context.Context, id spool.ID) (spool.Writer, error)
