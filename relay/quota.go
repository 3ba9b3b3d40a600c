package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// Quota counts the messages of authenticated senders. *auth.Keyring is one: it
// keeps the caps of its credentials, refuses the messages of those that were
// held or have expired, and ends the sessions of those that were given a new
// secret or fewer rights since the logon.
type Quota interface {
	// Spend counts a message that the identity is about to send, or refuses it
	// with an error. An [*auth.CredentialError] that is temporary is answered
	// 450 4.7.1, and one that a new logon may mend 421 4.7.0: auth.WrongSecret,
	// SecretExpired, SourceRefused and RightsReduced. All other
	// auth.ErrBadCredentials, and these from [Relay.Submit], are answered 550
	// 5.7.1; other errors as those of a [Policy].
	Spend(ctx context.Context, id *auth.Identity) error
}

// decideQuota counts the message against the sender's quota.
func (p *rules) decideQuota(ctx context.Context, c client) *smtpd.Reply {
	switch {
	case c.identity == nil, p.quota == nil && c.identity.Credential == "":
		return nil
	case p.quota == nil:
		return replyInternal(
			fmt.Errorf(
				"relay: Config.Quota is nil, so the caps of credential %s cannot be kept",
				c.identity.Credential,
			),
		)
	}
	err := p.spend(ctx, c.identity)
	if err == nil {
		return nil
	}
	var r *smtpd.Reply
	capped, ok := errors.AsType[*auth.CredentialError](err)
	switch {
	case ok && capped.Temporary():
		r = reply(450, "4.7.1", "Sending limit reached, try again later")
	case ok && c.connector != nil && logonMends(capped.Refusal):
		r = reply(421, "4.7.0", "Credential has changed, log on again")
	case errors.Is(err, auth.ErrBadCredentials):
		r = reply(550, "5.7.1", "Credential is no longer valid")
	default:
		return toReply(err)
	}
	r.Cause = err
	return r
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
