package relay

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// Config says what a relay does. [New] checks it and copies what it needs; a
// Config and what it points to must not change afterwards. Use
// [Relay.Reload] to give a running relay another one.
type Config struct {
	// Hostname is the name this relay goes by: in its banner, in EHLO, in trace
	// fields and reports. It ought to be fully qualified. U-labels are put in
	// their A-labels. Required.
	Hostname string

	// Spool keeps the queue: filespool on a disk, pgspool in PostgreSQL,
	// memspool until the process ends. The application opens it, and closes it
	// after the relay has ended. Required.
	Spool spool.Store

	// Connectors are the receive connectors. Defaults to none: nothing listens,
	// and the application alone submits.
	Connectors []*connector.Connector

	// TLS serves STARTTLS and implicit TLS on every connector; [Certificates]
	// serves files. What it may leave out stands in the overview. Defaults to
	// nil: no TLS, and a connector that requires it is a fault.
	TLS *tls.Config

	// Proxies are hosts, such as load balancers, whose connections begin with a
	// PROXY header and count as those of the client it names. Whoever can send
	// from them can claim to be anybody: see Proxies in the overview. Defaults
	// to none.
	Proxies []connector.Range

	// XClient are hosts that may name their clients by Postfix's XCLIENT
	// command, as nginx does. Whoever can send from them can claim to be
	// anybody: see Proxies in the overview. Defaults to none.
	XClient []connector.Range

	// NATGuard says what to do when many different clients that may relay
	// without logging on come from one address behind which others hide.
	// Defaults to NATWarn.
	NATGuard NATGuard

	// RequireEncryption makes it a fault when content could come in without
	// TLS: each connector must have RequireTLS or ImplicitTLS, or be bound to
	// loopback addresses only. Handlers over HTTP obey it too: see TLS in the
	// overview. Defaults to false.
	RequireEncryption bool

	// Verifier decides on user names and passwords. It is short for an Auth
	// with Passwords and a Throttle of the default options, which stays through
	// [Relay.Reload]. Defaults to none.
	Verifier auth.Verifier

	// Auth runs the mechanisms of AUTH: see Logging on in the overview. A
	// connector with BasicAuth needs Auth or Verifier; to set both is a fault.
	// Defaults to one made of Verifier.
	Auth *auth.Server

	// Quota counts the messages of authenticated senders. Set it to the
	// auth.Keyring that verifies credentials: without one, messages of an
	// identity with a Credential are refused, 451 4.3.0. Defaults to nil: no
	// caps for all others.
	Quota Quota

	// AcceptedDomains are the domains this relay takes mail for. Defaults to
	// none.
	AcceptedDomains []domains.AcceptedDomain

	// DefaultDomain completes <postmaster>. Defaults to the first accepted
	// domain without a wildcard, then to Hostname.
	DefaultDomain string

	// CompleteAddresses adds DefaultDomain to addresses without a domain, in
	// the envelope and in the address fields of submissions: of authenticated
	// users, over HTTP, and by Submit (RFC 6409 section 8.1). Defaults to
	// false: they are refused in the envelope, and left alone in the header.
	CompleteAddresses bool

	// Postmaster is the address that reports come from, and to which mail for
	// <postmaster> goes. Its local part must be ASCII. Defaults to postmaster@
	// the default domain.
	Postmaster string

	// Mailboxes takes the mail of known recipients in accepted domains, and of
	// the postmaster of each authoritative domain, whom no table needs to list.
	// Required when an accepted domain has Recipients.
	Mailboxes delivery.Transport

	// SendConnectors say how all other mail leaves. Mail that none of them
	// matches waits until one does or it expires: reports to senders elsewhere
	// too. Defaults to none.
	SendConnectors []*connector.SendConnector

	// Transport takes all other mail instead of SendConnectors: it is a fault
	// to set both. Defaults to nil.
	Transport delivery.Transport

	// Transports are those that send connectors name, by name. Defaults to
	// none.
	Transports map[string]delivery.Transport

	// DKIM are the keys that sign what authenticated users, relaying hosts and
	// the application send, and reports, by the domain of the From field. See
	// Signatures in the overview. Defaults to none.
	DKIM []msgauth.Key

	// Retry is the schedule of further attempts after a temporary failure. Each
	// field has its default.
	Retry delivery.Retry

	// Shaping bounds what goes to each destination, and says whether the relay
	// sends less by itself when one refuses: see Throttling in the overview.
	// Each field has its default.
	Shaping delivery.Shaping

	// Pressure says when to take less mail, for want of disk, memory or room in
	// the queue. Each field has its default.
	Pressure Pressure

	// Policy holds the application's own decisions. How long they may take
	// stands under Concurrency in the overview. Defaults to accepting.
	Policy Policy

	// Events is called with what happens to every message, one event at a time,
	// soon and at most once. It holds up nothing: see Events and crashes in the
	// overview. Defaults to nil.
	Events func(event.Event)

	// EventLog makes the store keep events, for [Relay.Follow]. The store needs
	// a [spool.Log]. Defaults to off.
	EventLog EventLog

	// Now reads the wall clock: by it messages are dated, fall due and are
	// given up, and events have their time. A step of it ends no lease and no
	// limit. For simulations. Defaults to time.Now.
	Now func() time.Time

	// Logger receives the relay's log: see Log in the overview. A handler that
	// panics costs its line only; one that blocks holds up who logs. Defaults
	// to a logger that discards.
	Logger *slog.Logger

	// Resolver looks up the DNS; who exists in accepted domains their
	// Recipients say. Defaults to the servers of /etc/resolv.conf, with a
	// cache: see the overview.
	Resolver delivery.Resolver

	// Dial opens the connections to next hops; a net.Dialer has such a method.
	// For one with a SourceAddress it is to use [delivery.SourceAddress], or
	// its connections are not used. Defaults to a dialler that does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Listen opens the bindings of the connectors: network is tcp4 or tcp6, and
	// address an IP address with a port. What it returns must tell the address
	// that it listens on. Defaults to sockets of the system.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)

	// MaxDeliveries bounds the deliveries under way at once, up to 100,000:
	// each holds about 100 KB. The overview says what share a destination or a
	// sender may have. Defaults to 500: one send connector can use 100
	// connections, and send ahead on them.
	MaxDeliveries int

	// LeaseTime is how long the store keeps a delivery for this relay after its
	// last sign of life. Then another one that shares the store may make it:
	// see Several relays in the overview. At least a second. Defaults to 2
	// minutes.
	LeaseTime time.Duration

	// DrainTimeout bounds how long [Relay.Run] waits for sessions and
	// deliveries under way when it ends. Defaults to 30 seconds.
	DrainTimeout time.Duration
}

// EventLog says what the store keeps of the events. See package event for what
// is stored, and [Relay.Follow] for reading it.
type EventLog struct {
	// Retention is how long events are kept, at least, and a second or more:
	// old ones go many at once. A consumer that is further behind has missed
	// some, and is told. Defaults to zero: nothing is stored.
	Retention time.Duration
}
