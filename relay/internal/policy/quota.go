package policy

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern-mail/postern/auth"
)

// DecideQuota counts the message against the sender's quota.
func (p *Rules) DecideQuota(ctx context.Context, c Client) *Reply {
	switch {
	case c.Identity == nil, p.Spend == nil && c.Identity.Credential == "":
		return nil
	case p.Spend == nil:
		return Internal.Because(
			fmt.Errorf(
				"relay: Config.Quota is nil, so the caps of credential %s cannot be kept",
				c.Identity.Credential,
			),
		)
	}
	err := p.Spend(ctx, c.Identity)
	if err == nil {
		return nil
	}
	capped, ok := errors.AsType[*auth.CredentialError](err)
	switch {
	case ok && capped.Temporary():
		return SendingLimit.Because(err)
	case ok && c.Connector != nil && logonMends(capped.Refusal):
		return CredentialChanged.Because(err)
	case errors.Is(err, auth.ErrBadCredentials):
		return CredentialInvalid.Because(err)
	}
	return ReplyTo(err)
}

// logonMends reports whether a client may get on by a new logon: it may know
// the newer secret, or need no more than it still has, and a 550 would cost it
// a message. Nothing else is here: what a logon lets in again would be sent to
// it for ever.
func logonMends(r auth.Refusal) bool {
	switch r {
	case auth.WrongSecret, auth.SecretExpired, auth.SourceRefused, auth.RightsReduced:
		return true
	}
	return false
}
