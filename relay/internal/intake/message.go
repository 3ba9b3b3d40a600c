package intake

import (
	"context"
	"hash"
	"io"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/spool"
)

// Message is a message on its way into the queue.
type Message struct {
	Client     policy.Client
	Spool      spool.Message // as it will be stored
	From       domains.Address
	Recipients []routing.Recipient
	Limits     connector.Limits
	Trace      header.Received
	// SMTP tells that it comes by SMTP, and not from the application or over
	// HTTP.
	SMTP     bool
	Schedule Schedule
	// Duplicate tells that it was queued before, with the same key.
	Duplicate bool
	// InStep tells that it is committed in a step of somebody else, which may
	// hold what the store needs to answer: that step alone looks at its key.
	InStep bool
	// Consult asks the application about the header as it will be stored, and
	// returns fields to be put on top. Nil: it is not asked.
	Consult func(ctx context.Context, section []byte) (fields []byte, err error)

	header *header.Header
	body   io.Reader
	extra  []byte // fields to be put on top
	author authors
	claim  *claim // nil without an idempotency key
}

// submission reports whether the message comes from who wrote it, so that it
// may be completed (RFC 6409 section 8): from an authenticated user, the
// application, or over HTTP. What another host relays is left as it is.
func (m *Message) submission() bool { return m.Client.Identity != nil || !m.SMTP }

// authors are the addresses of a From field.
type authors struct {
	read bool // the others are known
	list []string
	err  error
}

// claim is the idempotency key of a message on its way in. A nil one claims
// nothing.
type claim struct {
	scope, key string
	digest     hash.Hash // of what makes it the same message
	reused     error
}
