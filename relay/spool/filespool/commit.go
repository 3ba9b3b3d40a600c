package filespool

import (
	"context"

	"github.com/postern-mail/postern/relay/spool"
)

var _ spool.Committer = (*Store)(nil)

// Commit stores a message that was made ready.
func (s *Store) Commit(ctx context.Context, p *spool.Prepared) error {
	w, err := s.Create(ctx, p.Commit.Message.ID)
	if err != nil {
		return err
	}
	if _, err := w.Write(p.Content); err != nil {
		w.Abort()
		return err
	}
	return w.Commit(ctx, p.Commit)
}
