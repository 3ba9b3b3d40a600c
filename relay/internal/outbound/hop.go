package outbound

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"strings"
	"time"

	"github.com/postern-mail/postern/connector"
)

// hop is a next hop with its defaults, for one request.
type hop struct {
	connector.NextHop
	domain string // of exchangers
	key    hopKey
	found  []string      // exchangers that were just looked up, in turn
	sought time.Duration // that took so long
	stray  bool          // the connections made are not for others
}

// hopKey tells next hops apart, by all that they say: a connection that was
// made by some settings is not for others.
type hopKey struct {
	domain                             string // of exchangers, or their site
	hosts, tlsDomain, helo             string
	username, password                 string
	tokens                             connector.TokenSource
	port, connections, messages        int
	source                             netip.Addr
	age, idle                          time.Duration
	tls                                connector.TLSLevel
	lmtp, implicit, plaintext, private bool
	roots                              *x509.CertPool
	certificates                       [sha256.Size]byte
}

// ready fills a next hop's defaults in and gives it its key.
func ready(of *connector.NextHop, domain string) hop {
	h := hop{NextHop: of.WithDefaults()}
	if len(h.Hosts) == 0 {
		h.domain = domain
	}
	h.key = hopKey{
		domain: h.domain, hosts: strings.Join(h.Hosts, "\x00"), tlsDomain: h.TLSDomain,
		helo: h.FQDN, username: h.Username, password: h.Password, tokens: h.Tokens,
		port: h.Port, connections: h.MaxConnections, messages: h.MessagesPerConnection,
		source: h.SourceAddress, age: h.ConnectionAge, idle: h.IdleTimeout,
		tls: h.TLS, lmtp: h.LMTP, implicit: h.ImplicitTLS,
		plaintext: h.AllowPlaintextAuth, private: h.AllowPrivateAddresses, roots: h.RootCAs,
	}
	if len(h.Certificates) > 0 {
		h.key.certificates = digest(h.Certificates)
	}
	return h
}

// digest tells the certificates that a peer is shown apart.
func digest(list []tls.Certificate) (sum [sha256.Size]byte) {
	d := sha256.New()
	for i := range list {
		for _, der := range list[i].Certificate {
			d.Write(der)
		}
		d.Write([]byte{0})
	}
	d.Sum(sum[:0])
	return sum
}

// smart reports whether the hosts are those of the configuration.
func (h *hop) smart() bool { return len(h.Hosts) > 0 }

// tlsRequired tells whether a next hop must not be spoken to in the clear.
func (h *hop) tlsRequired() bool {
	return h.ImplicitTLS || h.TLS != connector.TLSOpportunistic && h.TLS != connector.TLSNone
}

// mayFallBack tells whether a next hop may be spoken to in the clear when TLS
// breaks. Where the password would be missing it makes no sense.
func (h *hop) mayFallBack() bool {
	return h.TLS == connector.TLSOpportunistic && !h.ImplicitTLS &&
		(h.Username == "" || h.AllowPlaintextAuth)
}
