package relay

import (
	"context"
	"io"
	"net/netip"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/attempt"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

// ListensAt tells whether a connector of a configuration is bound to an
// address.
func ListensAt(cfg Config, a netip.AddrPort) bool {
	return (&policy.Rules{Connectors: policy.Active(cfg.Connectors)}).ListensAt(a)
}

// DecideRcpt makes every decision that a recipient needs, from the choice of
// the receive connector to the choice of the send connector, and says whether
// it is accepted. The name of the route is left out.
func (r *Relay) DecideRcpt(
	ctx context.Context, local netip.AddrPort, remote netip.Addr, peer connector.Subject,
	to domains.Address, size int64,
) bool {
	p := r.snap.Load()
	con, ok := p.rules.Set.Match(local, remote)
	if !ok {
		return false
	}
	t, refusal := p.rules.DecideRcpt(
		ctx, policy.Client{Connector: con, Rights: con.Rights(peer)}, to,
	)
	if refusal != nil || t != policy.Outward {
		return refusal == nil
	}
	switch p.routes.KeyOf(t, to, size).Route {
	case "unreachable", "toolarge":
		return false
	}
	return true
}

// Told waits until the events so far have been handed over.
func (r *Relay) Told(ctx context.Context) { r.events.drain(ctx) }

// StoreBinary returns what is queued of a content that a user sends by SMTP
// with BODY=BINARYMIME.
func (r *Relay) StoreBinary(ctx context.Context, m *Message) ([]byte, error) {
	p := r.snap.Load()
	in, err := r.intakeOf(ctx, p, m)
	if err != nil {
		return nil, err
	}
	in.SMTP = true
	in.Spool.Body = "BINARYMIME"
	var w memory
	begin := func(context.Context, spool.ID) (spool.Writer, error) { return &w, nil }
	c, _, err := p.intake.Prepare(ctx, &in.Message, m.Content, begin)
	return append(c.Prepend, w.Bytes()...), err
}

// WithoutSignatures is content without the n signatures that the relay has put
// on it.
func WithoutSignatures(content io.Reader, n int) (io.Reader, error) {
	return attempt.Resigner{}.Remove(content, n)
}
