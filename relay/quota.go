package relay

import (
	"context"

	"github.com/postern-mail/postern/auth"
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
