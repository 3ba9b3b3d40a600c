package smtpd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"

	"github.com/postern-mail/postern/relay/internal/policy"
)

// conn is a connection, and the session on it. But for wire.dismiss and abort,
// its methods run on the goroutine of the session.
type conn struct {
	srv      *shared
	settings *Settings
	log      *slog.Logger
	sess     Session
	ctx      context.Context
	cancel   context.CancelFunc

	wire     wire
	proxy    proxyState
	secured  secured
	ext      extensions
	tx       transaction
	count    counts
	admitted bool
	odd      string // verbs that the log was told of: see tolerated
}

// secured is what else than sess.TLS is known of TLS on the connection.
type secured struct {
	served *x509.Certificate
	// spoken says that the other end of TLS and the client are two different
	// hosts, by XCLIENT.
	spoken bool
}

// counts are what a session has done. The first three begin again with every
// message.
type counts struct {
	errors   int // protocol errors
	useless  int // commands that brought no message forward
	refused  int // senders and recipients
	logons   int // failed
	messages int
}

// taken counts a message.
func (n *counts) taken() {
	n.messages++
	n.errors, n.useless, n.refused = 0, 0, 0
}

func newConn(h *shared, settings *Settings, socket net.Conn, sess Session) *conn {
	c := &conn{srv: h, settings: settings, log: h.log, sess: sess}
	c.wire.raw, c.wire.rw = socket, socket
	c.wire.in.init(&h.inputs)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// abort closes the socket under the session.
func (c *conn) abort() {
	c.wire.dismiss()
	c.cancel()
	c.wire.raw.Close()
}

// reply queues a reply of ours.
func (c *conn) reply(code int, enhanced, text string) { c.wire.say(code, enhanced, text) }

// say queues a reply by which the relay refuses.
func (c *conn) say(r *policy.Reply) { c.reply(r.Code, enhancedFor(r), r.Text) }

// goodbye says a last word and ends the session.
func (c *conn) goodbye(r *policy.Reply) {
	c.wire.hangup = true
	c.say(r)
	_ = c.wire.flush()
}

// refuse sends a refusal and reports it. A 421 ends the session.
func (c *conn) refuse(rej Rejection) {
	r := rej.Reply
	c.rejected(rej)
	c.say(r)
	if r.Code == 421 {
		c.wire.last()
	}
}

// rejected reports a refusal to the backend.
func (c *conn) rejected(rej Rejection) {
	if rej.From == "" && c.tx.mail != nil {
		rej.From = c.tx.mail.From.String()
	}
	c.srv.report(c.settings, &c.sess, rej)
}

// ask calls the backend.
func (c *conn) ask(f func() error) (r *policy.Reply) {
	defer func() {
		if v := recover(); v != nil {
			c.srv.panicked(&c.sess, v)
			r = policy.Panicked.Reply()
		}
	}()
	return replyTo(f())
}

// stage names where the session is, for refusals that belong to no stage of
// their own.
func (c *conn) stage() string {
	switch {
	case c.wire.in.content:
		return "data"
	case c.tx.mail != nil:
		return "mail"
	case c.sess.Helo != "":
		return "helo"
	}
	return "connect"
}

func (c *conn) fqdn() string {
	if n := c.sess.Connector.FQDN; n != "" {
		return n
	}
	return c.srv.hostname
}

// authKnown says whether there is any AUTH for this session.
func (c *conn) authKnown() bool { return c.ext&extAuth != 0 && c.settings.Auth != nil }

// reset forgets the transaction.
func (c *conn) reset() { c.tx.reset(c.settings.Memory) }

func (c *conn) tlsVersion() string {
	if c.sess.TLS == nil {
		return "none"
	}
	return tls.VersionName(c.sess.TLS.Version)
}

// connectorName is empty while a PROXY header is waited for.
func (c *conn) connectorName() string {
	if c.sess.Connector == nil {
		return ""
	}
	return c.sess.Connector.Name
}
