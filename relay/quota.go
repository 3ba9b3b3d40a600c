package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// Quota counts the messages of authenticated senders. *auth.Keyring is one: it keeps the caps of its
// credentials, and ends the sessions of those that were held, have expired, or were given a new secret or fewer rights since the logon.
type Quota interface {
	// Spend counts a message that the identity is about to send, or refuses it with an error. An
	// [*auth.CredentialError] that is temporary is answered 450 4.7.1, auth.Held and auth.ErrBadCredentials 550 5.7.1, and
	// what a new logon may mend, such as auth.WrongSecret, 421 4.7.0, or 550 5.7.1 to [Relay.Submit]; other errors as those of a [Policy].
	Spend(ctx context.Context, id *auth.Identity) error
}

// decideQuota counts the message against the sender's quota.
func (p *snapshot) decideQuota(ctx context.Context, c client) *smtpd.Reply {
	switch {
	case c.identity == nil, p.cfg.Quota == nil && c.identity.Credential == "":
		return nil
	case p.cfg.Quota == nil:
		return replyInternal(fmt.Errorf("relay: Config.Quota is nil, so the caps of credential %s cannot be kept", c.identity.Credential))
	}
	err := p.cfg.Quota.Spend(ctx, c.identity)
	if err == nil {
		return nil
	}
	var r *smtpd.Reply
	capped, ok := errors.AsType[*auth.CredentialError](err)
	switch {
	case ok && capped.Temporary():
		r = reply(450, "4.7.1", "Sending limit reached, try again later")
	case ok && capped.Refusal != auth.Held && c.connector != nil:
		// The client may know the newer secret, or need no more than it still has. A 550 would cost it a message.
		r = reply(421, "4.7.0", "Credential has changed, log on again")
	case errors.Is(err, auth.ErrBadCredentials):
		r = reply(550, "5.7.1", "Credential is no longer valid")
	default:
		return toReply(err)
	}
	r.Cause = err
	return r
}
