package smtpd

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/netip"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

// Session is what a connection has shown so far. The server owns it; a
// Backend reads it during its calls, which never overlap for one session.
type Session struct {
	ID            string // for the log, unique in the process
	Connector     *connector.Connector
	Limits        connector.Limits // with defaults filled in
	Local, Remote netip.AddrPort
	// Proxy is the listed host that has told, by a PROXY header or XCLIENT,
	// whom it speaks for; Local and Remote are then what it told. Invalid
	// without one.
	Proxy netip.AddrPort
	Helo  string
	ESMTP bool // EHLO rather than HELO
	// TLS is nil outside TLS. VerifiedChains is set when the client's
	// certificate has been verified.
	TLS       *tls.ConnectionState
	Identity  *auth.Identity // nil before AUTH
	Mechanism auth.Mechanism
	// Rights is Connector.Rights for the session as it stands, set at connect,
	// after TLS and after AUTH.
	Rights connector.Right
	// Value is the backend's own.
	Value any
}

// Mail is a MAIL command whose syntax has been checked, and the recipients
// accepted since.
type Mail struct {
	From       domains.Address // null for <>
	Size       int64           // SIZE as declared; -1 when not
	Body       spool.Body      // 7BIT, 8BITMIME, BINARYMIME; empty when not given
	UTF8       bool
	Return     spool.Return // FULL, HDRS or empty
	EnvelopeID string       // decoded
	Auth       *string      // AUTH= parameter decoded; nil when absent, "" for <>
	Recipients []Rcpt
}

// Rcpt is a RCPT command whose syntax has been checked.
type Rcpt struct {
	To       domains.Address
	Notify   spool.Notify
	Original string // ORCPT, decoded, "rfc822;…"
	Value    any    // the backend's own, kept from Rcpt to Message
}

// Rejection tells of a refusal after it was decided.
type Rejection struct {
	Stage string // connect tls helo auth mail rcpt data
	Reply *policy.Reply
	From  string // as far as known
	To    string // at rcpt
	User  string // at auth: the name tried
	// Command is what the client sent, where that was malformed: printable and
	// not long.
	Command string
}

// Backend decides. Its methods return nil to accept, a [*policy.Reply] to
// choose the reply, or any other error for a constant 451 4.3.0; its text goes
// to the log only. ctx ends with the connection. They are called by many
// sessions at once.
type Backend interface {
	Connect(ctx context.Context, s *Session) error
	Helo(ctx context.Context, s *Session) error
	// Auth is asked whether s.Identity, who has shown a good secret, may log
	// on. Identity and Rights are set for the call, and again when the exchange
	// has ended. The client does not know yet.
	Auth(ctx context.Context, s *Session) error
	// LoggedOn is told that s.Identity has logged on, for the log.
	LoggedOn(s *Session)
	Mail(ctx context.Context, s *Session, m *Mail) error
	Rcpt(ctx context.Context, s *Session, m *Mail, r *Rcpt) error
	// Message reads the content to its end and makes it durable. The content is
	// free of dot-stuffing and ends with its last octet. A read error other
	// than io.EOF means that the message must be dropped; Message returns it.
	// id goes into the 250.
	Message(ctx context.Context, s *Session, m *Mail, content io.Reader) (id string, err error)
	// Rejected is told of every refusal, for the log and the events. It must
	// not wait: refused connections are reported before the next is accepted.
	// The code of the reply is 0 if none was given: after a failed TLS
	// handshake, and to a peer that no connector is for, whose session has
	// none.
	Rejected(s *Session, r Rejection)
}

// Settings are what a connection is served with. A connection keeps those it
// began with.
type Settings struct {
	Connectors *connector.Set
	// TLS is used for STARTTLS and implicit TLS; nil means that neither is
	// offered. Connectors on which a certificate counts ask the client for one,
	// to be verified against ClientCAs. One that cannot be verified does not
	// count and does no harm.
	TLS     *tls.Config
	Backend Backend
	// Memory is for the recipients of messages being received. Nil is no bound.
	Memory *policy.Budget
	// CompleteDomain is added to the paths of authenticated users that have no
	// domain. Empty: they are refused.
	CompleteDomain string
	// Auth runs the mechanisms of AUTH; nil means that AUTH is not offered.
	Auth *policy.Verifiers
	// RequireEncryption makes every connector one that requires TLS, for
	// clients that are not on this host.
	RequireEncryption bool
	// Proxies are the hosts whose connections begin with a PROXY header.
	Proxies []connector.Range
	// XClient are the hosts that may use XCLIENT.
	XClient []connector.Range
	// WatchNAT warns when many clients that may relay come from one address
	// behind which others hide. RefuseNAT also refuses them.
	WatchNAT, RefuseNAT bool

	serving *tls.Config // TLS as it is used
	asking  *tls.Config // the same, but asking for a certificate
}

// Config configures a Server.
type Config struct {
	Hostname string
	Logger   *slog.Logger
	Settings Settings
	// Gateways returns the default gateways of this host, and nil when they are
	// not known now: those of before count. Defaults to what the system says.
	Gateways func() []netip.Addr
}
