package spool

import "context"

// Committer commits a message that was made ready elsewhere, in a step of its
// own or of somebody else, such as a transaction of the application. A Store
// may be one itself.
type Committer interface {
	// Commit stores content and envelope as Create, Write and Writer.Commit
	// do, and answers as they do. It keeps nothing of p.
	Commit(ctx context.Context, p *Prepared) error
}
