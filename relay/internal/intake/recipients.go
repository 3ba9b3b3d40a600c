package intake

import (
	"context"

	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/spool"
)

// unite leaves each recipient once.
func (in *Intake) unite(_ context.Context, m *Message) error {
	m.Recipients = routing.Distinct(m.Recipients)
	return nil
}

// findRecipients looks up the recipients that RCPT took without asking. It
// refuses the message if no recipient of it exists, so that the client, and
// nobody whose address it has forged, is told. What cannot be known now is
// asked again at delivery.
func (in *Intake) findRecipients(ctx context.Context, m *Message) error {
	rcpts := m.Recipients
	missing := 0
	for i := range rcpts {
		r := &rcpts[i]
		if r.Placement != policy.Unresolved {
			continue
		}
		t, refusal := in.Rules.FindNow(ctx, r.To)
		switch {
		case refusal == nil:
			r.Placement = t
		case refusal.Code >= 500:
			r.Placement = policy.Unknown
			missing++
			if m.Client.Stranger() {
				r.Notify = spool.NotifyNever // a report would go to a stranger's claim
			}
		}
	}
	if missing > 0 && missing == len(rcpts) {
		return policy.UnknownUser.Reply()
	}
	return nil
}

// limitReports sees that a stranger's claim is not sent what nobody owes it.
func (in *Intake) limitReports(_ context.Context, m *Message) error {
	if m.Client.Stranger() {
		for i := range m.Recipients {
			m.Recipients[i].Distrust()
		}
	}
	return nil
}
