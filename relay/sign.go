package relay

import (
	"errors"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/header"
)

// sign begins to sign a message, if this relay signs for its author's domain. It
// returns nil if not.
//
// Only what an authenticated user, a relaying host or the application sends is signed: a stranger
// who writes to one of our recipients must not get our signature on his From field.
func (p *snapshot) sign(in *intake, h *header.Header, extra []byte) (*msgauth.Signing, error) {
	if p.signer == nil || in.client.identity == nil && !in.client.rights.Has(connector.AcceptAnyRecipient) {
		return nil, nil
	}
	list, err := header.Addresses(h.Value("From"))
	if err != nil || len(list) != 1 {
		return nil, nil
	}
	author, err := domains.Parse(list[0])
	if err != nil || len(p.signer.For(author.Domain())) == 0 {
		return nil, nil
	}
	section := make([]byte, 0, len(extra)+len(h.Bytes()))
	section = append(append(section, extra...), h.Bytes()...)
	s, err := p.signer.Sign(author.Domain(), section)
	if errors.Is(err, msgauth.ErrFrom) || errors.Is(err, msgauth.ErrTooManyFields) {
		return nil, replyFrom()
	}
	return s, err
}
