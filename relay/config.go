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
	// Hostname is the name this relay goes by: in its banner, in EHLO, in
	// trace fields and reports. U-labels are put in their A-labels. Required; a
	// fully qualified domain name.
	Hostname string

	// Spool keeps the queue. Required. The application opens it and closes it
	// after the relay has ended; filespool is the durable default, memspool
	// forgets everything with the process.
	Spool spool.Store

	// Connectors are the receive connectors. None means that nothing
	// listens: the application alone submits.
	Connectors []*connector.Connector

	// TLS serves STARTTLS and implicit TLS on every connector. Defaults to nil:
	// neither is offered, and a connector that requires TLS is a fault.
	// MinVersion defaults to TLS 1.2, and CipherSuites to the six of TLS 1.2
	// that have ECDHE and AES-GCM or ChaCha20-Poly1305; with a lower
	// MinVersion, to those of crypto/tls. NextProtos is "smtp", whatever is
	// set: a client that asks for other protocols only is refused. So it is in
	// what GetConfigForClient returns. [Certificates] serves files and reads
	// them again when they change.
	//
	// A connector that knows servers or partners by their certificate asks the
	// client for one and verifies it against ClientCAs, which are then
	// required. A certificate that is not good does not count, and the session
	// goes on without it, unless ClientAuth says otherwise. GetConfigForClient,
	// where set, has to ask for certificates itself.
	TLS *tls.Config

	// Proxies are hosts, such as load balancers, whose connections begin with a
	// PROXY header (version 1 or 2) and are then taken for those of the client
	// it names: connector, limits, log and trace fields go by the client's
	// addresses. Where no connector is bound to the address that the client
	// connected to, the one that the proxy connected to counts. A connection of
	// theirs without a proper header is closed; a header from anybody else is
	// an unknown command. Whoever can send from these addresses can claim to be
	// anybody. A proxy that speaks for itself (LOCAL, as in a health check) and
	// that no connector takes is greeted and granted nothing. Defaults to none.
	Proxies []connector.Range

	// XClient are hosts that may speak for their clients with Postfix's XCLIENT
	// command, once a connection. The session then begins anew with the
	// client's addresses, and what the host has proved is forgotten, TLS itself
	// aside. A client that has been named, by XCLIENT or a PROXY header, and
	// says XCLIENT is answered 421: with its proxy_protocol on, nginx needs
	// xclient off. LOGIN is not taken: users log on here. Defaults to none.
	XClient []connector.Range

	// NATGuard says what to do when many different clients that may relay
	// without logging on come from one address behind which others hide.
	// Defaults to NATWarn.
	NATGuard NATGuard

	// RequireEncryption refuses every connector that would let content in
	// without TLS, unless all its bindings are loopback addresses: each must
	// have ImplicitTLS or RequireTLS. A session of a client beyond loopback
	// that reaches such a connector through one of Proxies or XClient goes as
	// if RequireTLS were set; TLS that the proxy has ended does not count
	// there. The handlers of packages httpapi and admin obey it too, for
	// requests that do not come from a loopback address, or come through a
	// proxy elsewhere: both the client and that proxy must then be inside TLS.
	// Defaults to false.
	RequireEncryption bool

	// Verifier decides on user names and passwords. It is short for an Auth
	// with Passwords and a Throttle of the default options, which goes on
	// through [Relay.Reload].
	Verifier auth.Verifier

	// Auth runs the mechanisms of AUTH, with a Throttle if it has one. This or
	// Verifier is required when a connector offers BasicAuth, which stands for
	// all mechanisms of users. Outside TLS, where a connector lets users log on
	// without it, bearer tokens are not taken. Logging on by certificate
	// (EXTERNAL) makes connectors ask for one, which needs TLS.ClientCAs. With
	// ExchangeServer alone there is no LOGIN, OAUTHBEARER or XOAUTH2. Over
	// HTTP, Passwords decides on Basic credentials and Tokens on Bearer ones. A
	// verifier that has not answered within 30 seconds is left alone and the
	// client told 454 4.7.0; while 1000 calls have not returned, nobody is
	// asked. [Relay.Reload] takes over another Server, with the same Throttle
	// and SCRAMSecret if nothing else is to change; what was changed in the one
	// in use is ignored. Defaults to Verifier; it is a fault to set both.
	Auth *auth.Server

	// Quota counts the messages of authenticated senders. Set it to the
	// auth.Keyring that verifies credentials: without one a message of an
	// identity with a Credential is refused, 451 4.3.0, since nothing would
	// keep its caps. Defaults to nil: no caps for all others.
	Quota Quota

	// AcceptedDomains are the domains this relay takes mail for.
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

	// Mailboxes takes the mail of known recipients in accepted domains.
	// Required when an accepted domain has Recipients.
	Mailboxes delivery.Transport

	// SendConnectors say how all other mail leaves. Mail without a matching
	// send connector waits in the queue until one is configured or it expires.
	SendConnectors []*connector.SendConnector

	// Transport takes all other mail instead of SendConnectors: it is a fault
	// to set both. Defaults to nil.
	Transport delivery.Transport

	// Transports are those that send connectors name, by name. Defaults to
	// none.
	Transports map[string]delivery.Transport

	// DKIM are the keys that sign what authenticated users, relaying hosts
	// and the application send, and reports, chosen by the domain of the From
	// field. Authors of several domains are not signed. The log tells once for
	// each reason what goes unsigned although there is a key. Defaults to none.
	DKIM []msgauth.Key

	// Retry is the schedule of further attempts after a temporary failure.
	Retry delivery.Retry

	// Pressure says when to take less mail, for want of disk, memory or room in
	// the queue.
	Pressure Pressure

	// Policy holds the application's own decisions. Functions of the
	// application that get a context have a minute to answer, a Transport as
	// long as an attempt may last. One that has not returned by then is left
	// alone and counts as a temporary failure, and so does one that panics;
	// while 1000 of a kind have not returned, nobody is asked.
	Policy Policy

	// Events receives what happens to every message, in the order in which it
	// happens to each recipient: soon, at most once, and one event at a time,
	// from a goroutine of its own. It holds up nothing. When it is so slow that
	// 16 MiB of events wait, 8 MiB for refusals, more are dropped, and the log
	// has their number. [Relay.Shutdown] hands over what waits. Defaults to
	// nil.
	Events func(event.Event)

	// EventLog makes the store keep events, for [Relay.Follow]. The store needs
	// a [spool.Log]. Defaults to off.
	EventLog EventLog

	// Now reads the wall clock: by it messages are dated, fall due and are
	// given up, and events have their time. A step of it ends no lease and no
	// limit. For simulations. Defaults to time.Now.
	Now func() time.Time

	// Logger receives the relay's log. At Info there is a line for each logon,
	// each accepted message and each refusal, with the id of its session, for
	// each recipient that bounced or expired, for the first deferral of a
	// message, and for each connector that is listened for; at Debug for all
	// other deliveries. Errors are under err, ids of messages under queue_id. A
	// handler that panics costs its line only, but one that blocks holds up who
	// logs. Defaults to a logger that discards.
	Logger *slog.Logger

	// Resolver looks up the DNS; who exists in accepted domains their
	// Recipients say. Defaults to one with a cache that asks the servers of
	// /etc/resolv.conf, and without that file to
	// [delivery.StandardResolver].
	Resolver delivery.Resolver

	// Dial opens the connections to next hops; a net.Dialer has such a method.
	// Defaults to a dialler without a source address of its own.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Listen opens the bindings of the connectors: network is tcp4 or tcp6, and
	// address an IP address with a port. What it returns must tell the address
	// that it listens on. Defaults to sockets of the system.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)

	// MaxDeliveries bounds the deliveries under way at once. The overview says
	// what share of them a destination or a sender may hold. Defaults to 100.
	MaxDeliveries int

	// DrainTimeout bounds how long [Relay.Run] waits for sessions and
	// deliveries under way when it ends. Defaults to 30 seconds.
	DrainTimeout time.Duration
}

// EventLog says what the store keeps of the events. See package event for what
// is stored, and [Relay.Follow] for reading it.
type EventLog struct {
	// Retention is how long events are kept, at least: old ones are dropped now
	// and then, many at once. A consumer that is further behind has missed
	// some, and is told. Defaults to zero: nothing is stored, and nothing is
	// paid for it.
	Retention time.Duration
}
