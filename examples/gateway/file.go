package main

import (
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
)

// file is the configuration file. A key is the name of its field in snake case;
// what the relay has a type for is read straight into that type. [file.encode]
// writes what decode reads.
type file struct {
	Hostname      string
	DefaultDomain string
	Postmaster    string
	Spool         string // directory, made if missing, or postgres:// URL
	Users         string // htpasswd file
	Scram         bool   // every user has SCRAM keys, which gateway -password prints
	MaxDeliveries int
	DrainTimeout  time.Duration
	LeaseTime     time.Duration // for gateways that share a database
	// SpoolPasswordFile has the password of a spool in a database,
	// ScramSecretFile what the salts of unknown users are made of.
	SpoolPasswordFile, ScramSecretFile string
	// RequireEncryption refuses connectors that take content without TLS beyond
	// loopback.
	RequireEncryption bool
	// StreamHeader names the header field in which who may relay tells the
	// stream of a message, such as X-Stream.
	StreamHeader string
	// CompleteAddresses adds default_domain to addresses of submissions that
	// have no domain.
	CompleteAddresses bool

	TLS            *serverTLS
	Proxies        []connector.Range
	Xclient        []connector.Range
	NATGuard       relay.NATGuard
	Connector      []*connector.Connector
	AcceptedDomain []acceptedDomain
	Senders        map[string][]string
	Mailboxes      mailboxes
	SendConnector  []sendConnector
	Retry          delivery.Retry
	Shaping        delivery.Shaping
	Pressure       relay.Pressure
	EventLog       relay.EventLog
	DKIM           []dkimKey
}

// pair names the files of a certificate and its key.
type pair struct{ Certificate, Key string }

// serverTLS is the certificate of the gateway, and who vouches for those of
// clients.
type serverTLS struct{ Certificate, Key, ClientCas string }

type acceptedDomain struct {
	Name            string
	Type            domains.Type
	MatchSubdomains bool
	Recipients      []string
	RecipientsFile  string // a local part or an address a line
	SkipLookup      bool
}

// mailboxes says where mail for known recipients goes: smtp://HOST:PORT,
// lmtp://HOST:PORT or maildir:DIRECTORY.
type mailboxes struct{ Deliver string }

type sendConnector struct {
	connector.SendConnector
	PasswordFile string
	// RootCas and Certificates name files for the connector's fields.
	RootCas      string
	Certificates []pair
	Oauth        *oauth // logs on with tokens in place of a password
}

type dkimKey struct {
	Domain, Selector, Key string
	Subdomains            bool // signs for domains below too
}
