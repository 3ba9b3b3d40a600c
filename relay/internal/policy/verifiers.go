package policy

import (
	"context"
	"log/slog"

	"github.com/postern-mail/postern/auth"
)

// Bound returns a server like s whose calls end with their context. What a
// verifier says after that is dropped: it counts for neither the session nor
// the Throttle. With no SCRAMSecret the server draws one of its own.
func (c *Calls) Bound(s *auth.Server) *auth.Server {
	bound := &auth.Server{
		Passwords: c.verifier(s.Passwords), Tokens: c.verifier(s.Tokens),
		Certificates:    c.verifier(s.Certificates),
		SCRAMIterations: s.SCRAMIterations, SCRAMSecret: s.SCRAMSecret,
		TokenScope: s.TokenScope, OpenIDConfiguration: s.OpenIDConfiguration, Throttle: s.Throttle,
	}
	if s.SCRAM != nil {
		bound.SCRAM = auth.SCRAMStoreFunc(func(
			ctx context.Context, by auth.Credentials,
		) (string, *auth.Identity, error) {
			type user struct {
				keys string
				id   *auth.Identity
			}
			u, err := Call(ctx, c, "a verifier", slog.Attr{}, func() (u user, err error) {
				u.keys, u.id, err = s.SCRAM.SCRAMKeys(ctx, by)
				return u, err
			})
			return u.keys, u.id, err
		})
	}
	return bound
}

func (c *Calls) verifier(of auth.Verifier) auth.Verifier {
	if of == nil {
		return nil
	}
	return auth.VerifierFunc(func(
		ctx context.Context, by auth.Credentials,
	) (*auth.Identity, error) {
		return Call(ctx, c, "a verifier", slog.Attr{}, func() (*auth.Identity, error) {
			return of.Verify(ctx, by)
		})
	})
}
