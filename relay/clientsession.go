package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/spool"
)

// Peer is where a client comes from that does not speak SMTP.
type Peer struct {
	// Local and Remote are the addresses of the connection. Remote is required.
	Local, Remote netip.AddrPort
	// Proxy is the host that told Remote and TLS. Invalid without one.
	Proxy netip.AddrPort
	// ProxyTLS tells that the connection from Proxy to this host is inside TLS
	// too. [Config].RequireEncryption asks for it unless Proxy is a loopback
	// address.
	ProxyTLS bool
	// TLS is nil without TLS. An empty state is TLS of which nothing more is
	// known, such as that which a proxy has ended.
	TLS *tls.ConnectionState
	// Protocol is the word for the trace field: "HTTP". Required; letters,
	// digits and hyphens.
	Protocol string
}

// ClientSession is a client of a receive connector that does not speak SMTP. It
// is what package httpapi makes of a request: the same decisions are made about
// it, with the same limits, replies, log lines and events, as about a session.
// Its methods are for one goroutine.
//
// Errors are *[ReplyError], whose text may be shown to the client, and from
// Submit also joined *[RecipientError].
type ClientSession struct {
	backend *backend
	session *smtpd.Session
}

var (
	errNoConnector = errors.New("relay: no such receive connector, or it is disabled")
	errNoRange     = errors.New("relay: the connector is not for this remote address")
)

// OpenSession lets in a client of the named connector. It asks Policy.Connect,
// as for a new connection.
//
// The remote address must be one that the connector is for: within its ranges,
// and not within a narrower one of another connector on the same binding. With
// Config.RequireEncryption the client must be inside TLS or on this host, as
// [Relay.CheckEncryption] says.
func (r *Relay) OpenSession(ctx context.Context, name string, peer Peer) (*ClientSession, error) {
	if ctx == nil {
		return nil, errNoContext
	}
	p := r.snap.Load()
	if r.isClosed() {
		return nil, replyError(policy.NoService.Because(ErrClosed))
	}
	c, ok := p.rules.Connector(name)
	if !ok {
		p.log.Error("no connector", logkey.Connector, name)
		return nil, replyError(policy.NoService.Because(errNoConnector))
	}
	remote := netip.AddrPortFrom(peer.Remote.Addr().Unmap().WithZone(""), peer.Remote.Port())
	s := &smtpd.Session{
		ID:        spool.NewID(r.now()).String(),
		Connector: c,
		Limits:    c.Limits.WithDefaults(c.Usage),
		Local:     peer.Local,
		Remote:    remote,
		Proxy:     peer.Proxy,
		Helo:      literal(remote.Addr()),
		TLS:       peer.TLS,
		Rights:    c.Rights(policy.PeerOf(nil, peer.TLS)),
	}
	s.Value = &Session{
		ID: s.ID, Connector: c, Local: peer.Local, Remote: remote, Proxy: peer.Proxy,
		protocol: peer.Protocol,
	}
	cl := &ClientSession{backend: &backend{relay: r, snapshot: p}, session: s}
	if !p.rules.Serves(c, remote.Addr()) {
		return nil, cl.rejected(
			smtpd.Rejection{Stage: "connect", Reply: policy.NoAccess.Because(errNoRange)},
		)
	}
	if !encrypted(p.rules, peer) {
		return nil, cl.rejected(
			smtpd.Rejection{Stage: "connect", Reply: policy.MustEncryptNow.Reply()},
		)
	}
	if err := cl.backend.Connect(ctx, s); err != nil {
		return nil, cl.refuse(ctx, smtpd.Rejection{Stage: "connect", Reply: policy.ReplyTo(err)})
	}
	return cl, nil
}

// CheckEncryption returns a [*ReplyError], 530 5.7.0, for a peer that
// [Config.RequireEncryption] keeps out: one that is neither inside TLS nor,
// with its proxy, on this host, and one whose proxy is elsewhere and does not
// come inside TLS itself, whatever it says of the client. [Relay.OpenSession]
// asks it. A handler that shows mail or settings over HTTP, as package admin
// does, asks it too.
func (r *Relay) CheckEncryption(peer Peer) error {
	if !encrypted(r.snap.Load().rules, peer) {
		return replyError(policy.MustEncryptNow.Reply())
	}
	return nil
}

func encrypted(p *policy.Rules, peer Peer) bool {
	return p.Encrypted(peer.Remote.Addr(), peer.Proxy.Addr(), peer.TLS != nil, peer.ProxyTLS)
}

// Limits returns the limits of the connector, with every default filled in.
// MaxMessageBytes is -1 for who may send messages of any size.
func (c *ClientSession) Limits() connector.Limits {
	l := c.session.Limits
	if c.session.Rights.Has(connector.BypassMessageSizeLimit) {
		l.MaxMessageBytes = -1
	}
	return l
}

// Identity returns who has logged on, or nil.
func (c *ClientSession) Identity() *auth.Identity { return c.session.Identity }

const (
	// maxHeld bounds the refusals held back at one time. Beyond it they are not
	// delayed.
	maxHeld = 1000
	// maxHold bounds how long the refusal of many recipients is held back.
	maxHold = 30 * time.Second
)

// refuse is rejected, late when the client has not shown who it is.
func (c *ClientSession) refuse(ctx context.Context, r smtpd.Rejection) error {
	if r.Reply.Code >= 500 {
		c.hold(ctx, c.tarpit())
	}
	return c.rejected(r)
}

func (c *ClientSession) rejected(r smtpd.Rejection) error {
	c.backend.Rejected(c.session, r)
	return replyError(r.Reply)
}

func (c *ClientSession) tarpit() time.Duration {
	if c.session.Identity != nil {
		return 0
	}
	return max(c.session.Limits.Tarpit, 0)
}

// hold waits, unless too many do.
func (c *ClientSession) hold(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	held := &c.backend.relay.held
	defer held.Add(-1)
	if held.Add(1) > maxHeld {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-c.backend.relay.closed:
	}
}
