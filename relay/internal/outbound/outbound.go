package outbound

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
)

// Request is an attempt at a next hop. It is not changed.
type Request struct {
	*delivery.Attempt
	// Hop says where to and how. Its hosts are smart hosts, in rotation: host,
	// host:port, an IP address, [address]:port or unix:/path.
	Hop *connector.NextHop
	// Domain is the domain whose exchangers are asked for if Hop has no hosts:
	// in A-labels, or an address literal in brackets.
	Domain string
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
	// Part is this process's part of the connections that a next hop is to get
	// from several, at least 1. nil: all of them.
	Part func(limit int) int
	// Messages is how many messages a connection to the site with these mail
	// exchangers is for; a smart host has none, and 0 is no bound. nil: no
	// bound but those of next hops.
	Messages func(exchangers []string) int
	// Dial opens a connection, from delivery.SourceAddress if ctx has one.
	// nil: a net.Dialer.
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
}

// withDefaults fills in what is missing.
func (cfg Config) withDefaults() Config {
	if cfg.Resolver == nil {
		cfg.Resolver = delivery.StandardResolver(nil)
	}
	if cfg.Own == nil {
		cfg.Own = func(netip.AddrPort) bool { return false }
	}
	if cfg.Part == nil {
		cfg.Part = func(limit int) int { return limit }
	}
	if cfg.Messages == nil {
		cfg.Messages = func([]string) int { return 0 }
	}
	if cfg.Dial == nil {
		cfg.Dial = dialTCP
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&cfg.ConnectTimeout, 30 * time.Second},
		{&cfg.GreetingTimeout, time.Minute},
		{&cfg.ReadyTimeout, 2 * time.Minute},
		{&cfg.CommandTimeout, 5 * time.Minute},
		{&cfg.WriteTimeout, 3 * time.Minute},
		{&cfg.FinalTimeout, 10 * time.Minute},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return cfg
}

// dialTCP is the Dial of a client that has no other.
func dialTCP(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if from := delivery.SourceAddress(ctx); from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return d.DialContext(ctx, network, address)
}
