package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"

	"github.com/postern-mail/postern/connector"
)

var (
	errNoSTARTTLS  = errors.New("TLS is required and the peer does not offer STARTTLS")
	errInjected    = errors.New("plain text behind the reply to STARTTLS")
	errCertificate = errors.New("no certificate from the peer")
)

// startTLS makes the handshake. name is the host connected to, as looked up.
func (c *conn) startTLS(ctx context.Context, h *hop, name string) error {
	if c.in.buffered() {
		// RFC 3207 section 5: nothing that came in the clear may count behind
		// the handshake.
		return errInjected
	}
	ctx, cancel := context.WithTimeout(ctx, c.times.ConnectTimeout)
	defer cancel()
	cfg := tlsConfig(h, name)
	cfg.ClientSessionCache = c.ticket
	tc := tls.Client(c.raw, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return err
	}
	state := tc.ConnectionState()
	c.ticket.proved(&state)
	c.use(tc)
	return nil
}

// tlsConfig gives the checks of a level. crypto/tls can check the chain only
// together with the name of the server, and the levels tell these apart: so its
// own check is off and verify takes its place, for resumed sessions too.
func tlsConfig(h *hop, name string) *tls.Config {
	cfg := &tls.Config{InsecureSkipVerify: true, Certificates: h.Certificates}
	if _, err := netip.ParseAddr(name); err != nil {
		cfg.ServerName = name // RFC 6066 section 3: no literal addresses
	}
	switch h.TLS {
	case connector.TLSCertificateValidation:
		cfg.VerifyConnection = verify(h.RootCAs, "")
	case connector.TLSDomainValidation:
		domain := h.TLSDomain
		if domain == "" {
			domain = h.domain
		}
		if domain == "" {
			domain = name
		}
		cfg.VerifyConnection = verify(h.RootCAs, domain)
	}
	return cfg
}

func verify(roots *x509.CertPool, name string) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return errCertificate
		}
		opts := x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
		for _, cert := range cs.PeerCertificates[1:] {
			opts.Intermediates.AddCert(cert)
		}
		_, err := cs.PeerCertificates[0].Verify(opts)
		return err
	}
}
