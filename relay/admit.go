package relay

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/intake"
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

// ClientSession is a client of a receive connector that does not speak SMTP. It is
// what package httpapi makes of a request: the same decisions are made about
// it, with the same limits, replies, log lines and events, as about a session.
// Its methods are for one goroutine.
//
// Errors are *[ReplyError], whose text may be shown to the client, and from
// Submit also joined *[RecipientError].
type ClientSession struct {
	backend *backend
	session *smtpd.Session
}

const (
	// maxHeld bounds the refusals held back at one time. Beyond it they are not
	// delayed.
	maxHeld = 1000
	// maxHold bounds how long the refusal of many recipients is held back.
	maxHold = 30 * time.Second
)

var (
	errNoConnector = errors.New("relay: no such receive connector, or it is disabled")
	errNoRange     = errors.New("relay: the connector is not for this remote address")
)

// OpenSession lets in a client of the named connector. It asks Policy.Connect, as for
// a new connection.
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
		p.log.Error("no connector", "connector", name)
		return nil, replyError(policy.NoService.Because(errNoConnector))
	}
	remote := netip.AddrPortFrom(peer.Remote.Addr().Unmap().WithZone(""), peer.Remote.Port())
	s := &smtpd.Session{
		ID:        spool.NewID(time.Now()).String(),
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
// come inside TLS itself, whatever it says of the client. [Relay.OpenSession] asks
// it. A handler that shows mail or settings over HTTP, as package admin does,
// asks it too.
func (r *Relay) CheckEncryption(peer Peer) error {
	if !encrypted(r.snap.Load().rules, peer) {
		return replyError(policy.MustEncryptNow.Reply())
	}
	return nil
}

func encrypted(p *policy.Rules, peer Peer) bool {
	return p.Encrypted(peer.Remote.Addr(), peer.Proxy.Addr(), peer.TLS != nil, peer.ProxyTLS)
}

// literal is an address literal (RFC 5321 section 4.1.3), which stands for the
// name in EHLO.
func literal(a netip.Addr) string {
	if a.Is6() {
		return "[IPv6:" + a.String() + "]"
	}
	return "[" + a.String() + "]"
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

// conn is what the mechanisms have to know of the client. The connector alone
// decides what may be shown outside TLS.
func (c *ClientSession) conn() auth.Conn {
	s := c.session
	return auth.Conn{
		Remote: s.Remote, TLS: s.TLS, Allowed: policy.Mechanisms(s.Connector, s.TLS != nil),
		InsecurePlaintext: true,
	}
}

// Offers returns what Authenticate takes of the client: [auth.Plain], which
// stands for passwords, and [auth.OAuthBearer], for tokens, which are for TLS
// only. scope is that of good tokens, [auth.Server].TokenScope.
func (c *ClientSession) Offers() (mechanisms []auth.Mechanism, scope string) {
	s, b := c.session, c.backend
	if policy.DecideAuth(b.rules.Auth, s.Connector, s.TLS != nil) != nil {
		return nil, ""
	}
	mechanisms = slices.DeleteFunc(b.rules.Auth.Mechanisms(c.conn()), func(m auth.Mechanism) bool {
		return m != auth.Plain && m != auth.OAuthBearer
	})
	return mechanisms, b.rules.Auth.TokenScope
}

// Authenticate logs the client on with a Token and, if it asks for one, a
// Username, as OAUTHBEARER does; or, without a Token, with a Username, a
// Password, and an Authzid if there is one, as PLAIN does. Throttle and
// Policy.Auth decide as on a session. The name is prepared
// ([auth.PrepareName]); Remote and TLS are the client's own. What is not in
// Offers is refused with 504 5.7.4. The refusal of bad credentials is held back
// for Limits.AuthTarpit, or until ctx ends.
func (c *ClientSession) Authenticate(ctx context.Context, credentials auth.Proof) error {
	if ctx == nil {
		return errNoContext
	}
	s := c.session
	if r := policy.DecideAuth(c.backend.rules.Auth, s.Connector, s.TLS != nil); r != nil {
		return c.refuse(ctx, smtpd.Rejection{Stage: "auth", Reply: r})
	}
	mechanism, message := auth.Plain, credentials.Authzid+"\x00"+credentials.Username+"\x00"+
		credentials.Password
	if credentials.Token != "" {
		mechanism, message = auth.OAuthBearer, bearerMessage(credentials)
	}
	logon, err := smtpd.BeginLogon(c.backend.rules.Auth, mechanism, c.conn(), s, c.backend, func() {
		s.Rights = s.Connector.Rights(policy.PeerOf(s.Identity, s.TLS))
	})
	if err != nil {
		c.hold(ctx, s.Limits.AuthTarpit)
		return c.rejected(
			smtpd.Rejection{
				Stage: "auth", Reply: policy.AuthUnknown.Reply(),
			},
		)
	}
	// A client that hangs up is none the less counted by the Throttle.
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(c.backend.relay.killed, cancel)()
	_, done, r := logon.Next(lasting, []byte(message))
	if r == nil && !done {
		// RFC 7628 section 3.2.3: a token is refused in two steps.
		_, done, r = logon.Next(lasting, []byte("\x01"))
	}
	switch {
	case done:
		return nil
	case r == nil, r.Code == 501: // what has no place in a message of the mechanism
		r = policy.BadCredentials.Reply()
	}
	if r.Code >= 500 || r.Throttled() {
		c.hold(ctx, s.Limits.AuthTarpit)
	}
	return c.rejected(smtpd.Rejection{Stage: "auth", Reply: r, User: logon.User()})
}

// bearerMessage is the client's message of OAUTHBEARER (RFC 7628 section 3.1).
// It is empty, which the mechanism refuses, if the credentials are not a token
// (RFC 6750 section 2.1) and perhaps a name.
func bearerMessage(c auth.Proof) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
	token := strings.TrimRight(c.Token, "=")
	if token == "" || strings.Trim(token, digits) != "" || strings.Contains(c.Username, "\x01") ||
		c.Password != "" || c.Authzid != "" {
		return ""
	}
	header := "n,,"
	if c.Username != "" {
		// RFC 5801 section 4
		header = "n,a=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(c.Username) + ","
	}
	return header + "\x01auth=Bearer " + c.Token + "\x01\x01"
}

// Check refuses what Submit would refuse whatever the message: a client outside
// TLS, without the right to submit, or for whose mail there is no room. It
// saves reading a message in vain.
func (c *ClientSession) Check(ctx context.Context) error {
	if ctx == nil {
		return errNoContext
	}
	cl := clientOf(c.session)
	r := c.backend.rules.DecideMail(cl, domains.Address{})
	if r == nil {
		r = policy.DecideLoad(c.backend.relay.monitor.Current(ctx), cl)
	}
	if r == nil {
		return nil
	}
	// Not held back: to be asked to log on is the ordinary course of HTTP.
	return c.rejected(smtpd.Rejection{Stage: "mail", Reply: r})
}

// Refuse tells the log and the events that the caller refuses the client's
// message for a reason of its own, made by [Reject] or [Defer], and returns the
// reply. Stage is mail, rcpt or data.
func (c *ClientSession) Refuse(ctx context.Context, stage string, err error) error {
	if ctx == nil {
		return errNoContext
	}
	return c.refuse(ctx, smtpd.Rejection{Stage: stage, Reply: policy.ReplyTo(err)})
}

// Submit queues a message of the client. When it returns nil the message is
// durable, as [Relay.Submit] says. It is all or nothing: if one recipient is
// refused, nothing is queued. Message.Identity is ignored. Labels that the
// identity has cannot be replaced by those of the message.
func (c *ClientSession) Submit(ctx context.Context, m *Message) (*Receipt, error) {
	switch {
	case ctx == nil:
		return nil, errNoContext
	case m == nil:
		return nil, errNoMessage
	}
	s := c.session
	v := session(s)
	v.Labels, v.Stream = ownLabels(s.Identity, m.Labels), cmp.Or(m.Stream, v.Stream)
	v.message, v.duplicate = m, false
	defer func() { v.message = nil }()
	mail, r := c.mail(ctx, m)
	if r != nil {
		return nil, c.refuse(ctx, smtpd.Rejection{Stage: "mail", From: m.From, Reply: r})
	}
	if err := c.recipients(ctx, mail, m); err != nil {
		return nil, err
	}
	content := intake.Bound(intake.NewCRLFReader(m.Content), c.Limits().MaxMessageBytes)
	id, err := c.backend.Message(ctx, s, mail, content)
	if err != nil {
		return nil, c.refuse(
			ctx, smtpd.Rejection{Stage: "data", From: m.From, Reply: policy.ReplyTo(err)},
		)
	}
	return &Receipt{QueueID: id, Duplicate: v.duplicate}, nil
}

// mail decides on the sender, in the order of a session.
func (c *ClientSession) mail(ctx context.Context, m *Message) (*smtpd.Mail, *policy.Reply) {
	mail := &smtpd.Mail{Size: -1, Return: m.Return, EnvelopeID: m.EnvelopeID}
	if r := policy.DecideTLS(c.session.Connector, c.session.TLS != nil); r != nil {
		return nil, r
	}
	if m.From != "" {
		from, err := domains.Parse(intake.CompleteAddress(c.backend.rules, m.From))
		if err != nil {
			return nil, policy.BadSender.Reply()
		}
		mail.From, mail.UTF8 = from, from.UTF8()
	}
	if err := errors.Join(m.checkFields(time.Now())...); err != nil {
		return nil, policy.BadArguments.Because(err)
	}
	if r := policy.DecideSize(c.session.Limits, c.session.Rights, m.Size); r != nil {
		return nil, r
	}
	return mail, policy.ReplyTo(c.backend.Mail(ctx, c.session, mail))
}

// recipients decides on all recipients, so that the client learns of every
// fault at once.
func (c *ClientSession) recipients(ctx context.Context, mail *smtpd.Mail, m *Message) error {
	s := c.session
	switch most := s.Limits.MaxRecipients; {
	case len(m.To) == 0:
		return c.refuse(
			ctx,
			smtpd.Rejection{
				Stage: "rcpt", From: m.From, Reply: policy.NoRecipients.Reply(),
			},
		)
	case most > 0 && len(m.To) > most:
		return c.refuse(
			ctx,
			smtpd.Rejection{
				Stage: "rcpt", From: m.From, Reply: policy.TooManyRecipients.Reply(),
			},
		)
	}
	var errs []error
	held := time.Duration(0)
	mail.Recipients = make([]smtpd.Rcpt, 0, len(m.To))
	for _, to := range m.To {
		rcpt := smtpd.Rcpt{Notify: m.Notify}
		var r *policy.Reply
		if a, err := domains.Parse(intake.CompleteAddress(c.backend.rules, to)); err != nil {
			r = policy.BadRecipient.Reply()
		} else if r = policy.DecideLength(mail.From, a); r == nil {
			rcpt.To = a
			r = policy.ReplyTo(c.backend.Rcpt(ctx, s, mail, &rcpt))
		}
		if r != nil {
			if r.Code >= 500 {
				held += c.tarpit()
			}
			errs = append(
				errs,
				&RecipientError{
					Recipient: to,
					Err: c.rejected(
						smtpd.Rejection{Stage: "rcpt", From: m.From, To: to, Reply: r},
					),
				},
			)
			continue
		}
		mail.UTF8 = mail.UTF8 || rcpt.To.UTF8()
		mail.Recipients = append(mail.Recipients, rcpt)
	}
	c.hold(ctx, min(held, maxHold))
	return errors.Join(errs...)
}

// ownLabels are the labels of a message that do not stand for the identity's.
func ownLabels(id *auth.Identity, own map[string]string) map[string]string {
	own = maps.Clone(own)
	if id != nil {
		for k := range id.Labels {
			delete(own, k)
		}
	}
	return own
}

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
