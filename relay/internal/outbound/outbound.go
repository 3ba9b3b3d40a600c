package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
)

// NextHop says where a request goes and how.
type NextHop struct {
	// Key tells next hops apart: connections and rotation are kept by it, for
	// MX delivery together with Domain. It must change when anything else here
	// does.
	Key string
	// Hosts are smart hosts, in rotation: host, host:port, an IP address,
	// [address]:port or unix:/path. Empty means the MX of Domain.
	Hosts []string
	// Domain is the recipient domain for MX delivery: A-labels, or an address
	// literal in brackets.
	Domain string
	// Port is used where a host names none. Defaults to 25.
	Port int
	// AllowPrivate lets MX delivery and address literals lead to addresses that
	// are not public too. Smart hosts may have any address.
	AllowPrivate bool
	// LMTP speaks RFC 2033: one reply per recipient after the content.
	LMTP bool
	// TLS says what is asked of TLS, and TLSDomain which name
	// TLSDomainValidation asks for.
	TLS       connector.TLSLevel
	TLSDomain string
	// ImplicitTLS speaks TLS from the first octet.
	ImplicitTLS bool
	// Username and Password log on, with PLAIN or LOGIN, in TLS only unless
	// AllowPlaintextAuth.
	Username, Password string
	AllowPlaintextAuth bool
	// Helo is the name in EHLO. Defaults to Config.Hostname.
	Helo string
	// MaxConnections bounds the connections to this next hop, idle ones
	// included; a delivery waits for one to come free. Defaults to 20; negative
	// means no bound.
	MaxConnections int
	// MessagesPerConnection ends a connection after that many transactions.
	// Defaults to 100; negative means no bound.
	MessagesPerConnection int
	// RootCAs vouch for the peer; nil: the system's. Certificates are shown to
	// it.
	RootCAs      *x509.CertPool
	Certificates []tls.Certificate
}

// Request is one transaction.
type Request struct {
	ID         string // queue id, for the log
	Hop        *NextHop
	From       string // without angle brackets, as to be printed
	FromASCII  string // as Recipient.ASCII
	Recipients []Recipient
	EnvelopeID string // decoded
	Return     string // FULL, HDRS or empty
	Body       string // 7BIT, 8BITMIME, BINARYMIME or empty
	UTF8       bool   // accepted with SMTPUTF8
	Size       int64  // of the content, in octets; 0 when unknown
	// Open returns the content from its start. It may be called more than once.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Signatures are those that this host has put on the content; nil for none.
	Signatures Signatures
}

// Signatures are DKIM signatures of this host. Content that has to be converted
// for a next hop loses them and gets others (RFC 6376 section 5.3).
type Signatures interface {
	// Remove returns content without them.
	Remove(content io.Reader) (io.Reader, error)
	// Sign reads converted content to its end and returns the fields to put on
	// top of it, which may be none. An error makes the attempt fail for now.
	Sign(content io.Reader) ([]byte, error)
}

// Recipient is one recipient of a Request.
type Recipient struct {
	Address string // without angle brackets
	// ASCII is Address with its domain in A-labels, for a peer without
	// SMTPUTF8: RFC 6531 section 3.2 counts a domain so written as ASCII. Empty
	// if Address is ASCII, or its local part is not.
	ASCII  string
	Notify string // NOTIFY value as on the wire, "SUCCESS,FAILURE", or empty
	ORCPT  string // decoded "rfc822;…", or empty
}

// Outcome is the fate of a recipient in one attempt.
type Outcome uint8

const (
	Temporary Outcome = iota // the zero Result is temporary
	Delivered
	Permanent
)

// Result is what an attempt came to for one recipient.
type Result struct {
	Outcome Outcome
	// Op is the step that decided: dns dial greeting ehlo starttls auth mail
	// rcpt data lmtp content.
	Op string
	// Host is the remote host's name and address, "mx.example.com
	// [192.0.2.1]:25".
	Host string
	// Code, Enhanced and Text are the remote reply: its lines joined by a
	// space, in Text without the enhanced code, control characters replaced,
	// and at most 2 KiB of it. Code is 0 when there was none; then Enhanced is
	// this side's view.
	Code     int
	Enhanced string
	Text     string
	// Err is the local cause: a dial error, a timeout, no MX.
	Err error
	// DSN tells that the next hop offered DSN and got NOTIFY and the like.
	DSN bool
}

// Config configures a Client.
type Config struct {
	Hostname string // this host's name: for EHLO, and to see that mail loops
	// Resolver looks up the DNS. One that has the method LookupHost, as that of
	// delivery.StandardResolver has, is asked by it for smart hosts, to which a
	// search list may apply. nil: delivery.StandardResolver.
	Resolver delivery.Resolver
	// Own tells whether this host itself listens at an address: MX delivery and
	// address literals that lead there are a loop. nil: it listens nowhere.
	Own func(netip.AddrPort) bool
	// Dial opens a connection. nil: a net.Dialer.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Logger *slog.Logger
	// ConnectTimeout bounds dialling, and each time anew a look-up and the TLS
	// handshake. GreetingTimeout bounds the wait for the greeting. ReadyTimeout
	// bounds all that comes before MAIL, over all addresses of all hosts. They
	// default to 30 seconds, 1 minute and 2 minutes.
	ConnectTimeout, GreetingTimeout, ReadyTimeout time.Duration
	// CommandTimeout bounds the wait for a reply, WriteTimeout each write of
	// content, FinalTimeout the wait for the reply to a message. They default
	// to 5, 3 and 10 minutes (RFC 5321 section 4.5.3.2).
	CommandTimeout, WriteTimeout, FinalTimeout time.Duration
	// IdleTimeout closes unused connections. Defaults to 5 s: longer than the
	// gap between messages under load, shorter than any server's patience.
	IdleTimeout time.Duration
}
