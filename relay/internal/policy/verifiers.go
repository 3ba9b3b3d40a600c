package policy

import (
	"context"
	"log/slog"

	"github.com/postern-mail/postern/auth"
)

// Verifiers are an auth.Server whose questions to the application end with
// their context. What a verifier says after that is dropped: it counts for
// neither the session nor the Throttle.
type Verifiers struct {
	*auth.Server
	calls *Calls
}

// Bound returns s with its questions bound.
func (c *Calls) Bound(s *auth.Server) *Verifiers { return &Verifiers{Server: s, calls: c} }

// Begin starts an exchange as [auth.Server.Begin] does.
func (v *Verifiers) Begin(m auth.Mechanism, conn auth.Conn) (*auth.Exchange, error) {
	conn.Ask = v.ask
	return v.Server.Begin(m, conn)
}

func (v *Verifiers) ask(ctx context.Context, question func() error) error {
	_, err := Call(ctx, v.calls, "a verifier", slog.Attr{}, func() (struct{}, error) {
		return struct{}{}, question()
	})
	return err
}
