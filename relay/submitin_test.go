package relay_test

import (
	"context"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
)

// keeper is a Committer that keeps what it is given.
type keeper struct{ kept *spool.Prepared }

func (k *keeper) Commit(_ context.Context, p *spool.Prepared) error {
	k.kept = p
	return nil
}

// prepare returns what SubmitIn commits.
func prepare(ctx context.Context, r *relay.Relay, m *relay.Message) (*spool.Prepared, error) {
	var k keeper
	if _, err := r.SubmitIn(ctx, &k, m); err != nil {
		return nil, err
	}
	return k.kept, nil
}
