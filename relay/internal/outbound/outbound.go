package outbound

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/connector"
)

// NextHop says where a request goes and how.
type NextHop struct {
	// Key tells next hops apart: connections and rotation are kept by it.
	Key string
	// Hosts are smart hosts, host or host:port, in rotation. Empty means the MX of Domain.
	Hosts []string
	// Domain is the recipient domain for MX delivery: A-labels, or an address literal in brackets.
	Domain string
	Port   int // where a host names none
	// LMTP speaks RFC 2033: one reply per recipient after the content.
	LMTP               bool
	TLS                connector.TLSLevel
	TLSDomain          string
	ImplicitTLS        bool
	Username, Password string
	AllowPlaintextAuth bool
	Helo               string
	// MaxConnections bounds the connections to this next hop, idle ones included; MessagesPerConnection
	// ends a connection after that many transactions.
	MaxConnections        int
	MessagesPerConnection int
	RootCAs               *tls.Config // nil: the system's roots; only RootCAs and Certificates are used
}

// Request is one transaction.
type Request struct {
	ID         string // queue id, for the log
	Hop        *NextHop
	From       string // without angle brackets, as to be printed
	Recipients []Recipient
	EnvelopeID string // decoded
	Return     string // FULL, HDRS or empty
	Body       string // 7BIT, 8BITMIME, BINARYMIME or empty
	UTF8       bool
	Size       int64
	// Open returns the content from its start. It may be called more than once.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Recipient is one recipient of a Request.
type Recipient struct {
	Address string // without angle brackets
	Notify  string // NOTIFY value as on the wire, "SUCCESS,FAILURE", or empty
	ORCPT   string // decoded "rfc822;…", or empty
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
	// Op is the step that decided: dns dial greeting ehlo starttls auth mail rcpt data lmtp content.
	Op string
	// Host is the remote host's name and address, "mx.example.com [192.0.2.1]:25".
	Host string
	// Code, Enhanced and Text are the remote reply, as received with lines joined by a space; Code 0 when there was none.
	Code     int
	Enhanced string
	Text     string
	// Err is the local cause: a dial error, a timeout, no MX.
	Err error
	// DSN tells that the next hop offered DSN and got NOTIFY and the like.
	DSN bool
}

// Resolver looks up the DNS; *net.Resolver has these methods.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config configures a Client.
type Config struct {
	Hostname string
	Resolver Resolver // nil: net.DefaultResolver
	// Dial opens a connection. nil: a net.Dialer.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Logger *slog.Logger
	// Timeouts: connect 30 s, command 5 min, each write of content 3 min, final reply 10 min (RFC 5321 section 4.5.3.2).
	ConnectTimeout, CommandTimeout, WriteTimeout, FinalTimeout time.Duration
	// IdleTimeout closes unused connections. Defaults to 5 s? see doc.
	IdleTimeout time.Duration
}
