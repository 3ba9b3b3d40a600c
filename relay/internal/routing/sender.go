package routing

import (
	"context"
	"io"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

// Signer replaces the signatures that this relay has put on a message, when the
// message has to be converted for a next hop (RFC 6376 section 5.3).
type Signer interface {
	// Remove returns content without the topmost n.
	Remove(content io.Reader, n int) (io.Reader, error)
	// Sign reads the converted content of a message to its end, and returns the
	// fields to put on top of it, which may be none. An error may pass.
	Sign(id string, content io.Reader) ([]byte, error)
}

// own are the signatures of one message.
type own struct {
	Signer
	id string
	n  int
}

// Remove implements [outbound.Signatures].
func (o own) Remove(content io.Reader) (io.Reader, error) { return o.Signer.Remove(content, o.n) }

// Sign implements [outbound.Signatures].
func (o own) Sign(content io.Reader) ([]byte, error) { return o.Signer.Sign(o.id, content) }

// sender makes transactions by the relay's client.
type sender struct {
	client *outbound.Client
	signer Signer
}

// send makes one transaction. domain is the one whose exchangers are meant if
// the hop has no hosts.
func (s *sender) send(
	ctx context.Context, hop *connector.NextHop, domain string, a *delivery.Attempt,
) []delivery.Result {
	r := &outbound.Request{Attempt: a, Hop: hop, Domain: domain}
	if n := a.Message.Signatures; n > 0 {
		r.Signatures = own{Signer: s.signer, id: a.QueueID, n: n}
	}
	return s.client.Deliver(ctx, r)
}
