package relay_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// Mail programs that know SCRAM never send the password; others do. Whoever
// guesses has to wait.
func ExampleConfig_auth() {
	keys, err := auth.NewSCRAMKeys("correct horse")
	if err != nil {
		panic(err)
	}
	hasher := auth.NewHasher(nil)
	users := connector.Submission("users")
	users.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:587")}
	// an example without a certificate; Submission asks for TLS
	users.AuthMechanisms = connector.BasicAuth
	_, err = relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{users},
		Auth: &auth.Server{
			SCRAM: auth.SCRAMStoreFunc(func(
				_ context.Context, c auth.Proof,
			) (string, *auth.Identity, error) {
				if c.Username != "anna@example.com" {
					return "", nil, auth.ErrBadCredentials
				}
				return keys, &auth.Identity{User: c.Username}, nil
			}),
			Passwords: auth.VerifierFunc(func(
				ctx context.Context, c auth.Proof,
			) (*auth.Identity, error) {
				match, err := hasher.Match(ctx, c, keys)
				if err == nil && (!match || c.Username != "anna@example.com") {
					err = auth.ErrBadCredentials
				}
				return &auth.Identity{User: c.Username}, err
			}),
			Throttle: auth.NewThrottle(nil),
		},
	})
	fmt.Println(err)
	// Output:
	// <nil>
}
