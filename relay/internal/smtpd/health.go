package smtpd

import (
	"context"
	"net/netip"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// healthCheck makes the session one of a proxy that speaks for itself and that
// no connector takes, as in a health check: it is greeted, and may say HELO,
// NOOP, RSET and QUIT. The connector it returns grants nothing.
func (c *conn) healthCheck(local netip.AddrPort) *connector.Connector {
	own := *c.settings
	own.Backend, own.Auth, own.XClient = health{own.Backend}, nil, nil
	c.settings = &own
	return &connector.Connector{Name: "health check", ImplicitTLS: own.implicitTLS(local)}
}

// implicitTLS reports whether clients begin with TLS at local.
func (s *Settings) implicitTLS(local netip.AddrPort) bool {
	for _, c := range s.Connectors.Connectors() {
		for _, b := range c.Bindings {
			bound := b.Addr() == local.Addr() || b.Addr().IsUnspecified()
			if c.ImplicitTLS && bound && b.Port() == local.Port() {
				return s.TLS != nil
			}
		}
	}
	return false
}

// health is the backend of a health check. It troubles nobody, and takes no
// mail.
type health struct{ Backend }

func (health) Connect(context.Context, *Session) error { return nil }
func (health) Helo(context.Context, *Session) error    { return nil }

func (health) Mail(context.Context, *Session, *Mail) error {
	return policy.NoProxyService.Reply()
}
