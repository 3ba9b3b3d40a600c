package intake

import (
	"context"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// checkLines refuses a header in which two readers could see different lines.
func (in *Intake) checkLines(_ context.Context, m *Message) error {
	if !m.header.Clean() {
		return policy.BareLine.Reply()
	}
	return nil
}

// checkHops refuses a message that goes round.
func (in *Intake) checkHops(_ context.Context, m *Message) error {
	total, local := m.header.Hops(in.Rules.Hostname)
	over := func(n, limit int) bool { return limit > 0 && n > limit }
	if over(total, m.Limits.MaxHops) || over(local, m.Limits.MaxLocalHops) {
		return policy.Loop.Reply()
	}
	return nil
}

// firewall removes the fields that the client may not bring.
func (in *Intake) firewall(_ context.Context, m *Message) error {
	rights := m.Client.Rights
	wall := header.Firewall{
		Routing:      rights.Has(connector.AcceptHeadersRouting),
		Organization: rights.Has(connector.AcceptHeadersOrganization),
		Forest:       rights.Has(connector.AcceptHeadersForest),
	}
	if !m.Client.Vouches() && m.header.Has("Authentication-Results") {
		wall.Own = func(id string) bool { return in.Rules.IsOurs(m.Client, id) }
	}
	wall.Apply(m.header)
	return nil
}
