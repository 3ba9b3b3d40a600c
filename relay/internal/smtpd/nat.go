package smtpd

import (
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// watched reports whether the session may relay for what its address is, and
// others may hide behind that.
func (c *conn) watched(now time.Time) bool {
	if !c.settings.WatchNAT || c.sess.Identity != nil ||
		!c.sess.Rights.Has(connector.AcceptAnyRecipient) || c.names() != nil {
		return false
	}
	a := c.sess.Remote.Addr()
	return c.srv.nat.isGateway(a, now) || contains(c.settings.Proxies, a) ||
		contains(c.settings.XClient, a)
}

// crowded refuses a connection from where a crowd has come.
func (c *conn) crowded() *policy.Reply {
	if now := time.Now(); !c.settings.RefuseNAT || !c.watched(now) ||
		!c.srv.nat.crowded(c.sess.Remote.Addr(), now) {
		return nil
	}
	return crowdRefusal()
}

func crowdRefusal() *policy.Reply {
	return policy.Crowded.Reply()
}

// watch notes the name that a client says in HELO.
func (c *conn) watch(name string) *policy.Reply {
	now := time.Now()
	if !c.watched(now) {
		return nil
	}
	crowded, warn := c.srv.nat.add(c.sess.Remote.Addr(), name, now)
	if warn {
		c.log.Warn("many different clients may relay because they come from the address of a "+
			"gateway or a proxy; let it keep or tell their addresses, or take its address "+
			"out of the connector's ranges",
			logkey.Session, c.sess.ID, logkey.Connector, c.sess.Connector.Name,
			logkey.Remote, c.sess.Remote.Addr(), logkey.Refused, c.settings.RefuseNAT)
	}
	if crowded && c.settings.RefuseNAT {
		return crowdRefusal()
	}
	return nil
}
