package smtpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"

	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

const handshakeTimeout = 30 * time.Second

// handshake puts TLS on the connection, or ends it: after a failed handshake
// nothing that arrives can be trusted to be SMTP.
func (c *conn) handshake() bool {
	cfg, socket := c.settings.serving, c.wire.raw
	if c.asks() {
		cfg = c.settings.asking
	}
	if in := &c.wire.in; !in.empty() {
		// What came with the PROXY header.
		socket = &prefixed{socket, bytes.Clone(in.pending())}
		in.drop()
	}
	w := &witness{Conn: socket}
	secure := tls.Server(w, cfg)
	until := c.wire.deadline(handshakeTimeout)
	c.wire.armBoth(c.wire.raw, until)
	ctx, cancel := context.WithDeadline(c.ctx, until) // for the functions of the configuration
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		c.rejected(Rejection{
			Stage: "tls", Reply: &policy.Reply{Cause: fmt.Errorf("TLS handshake: %w", err)},
		})
		c.wire.hangup = true
		return false
	}
	state := secure.ConnectionState()
	c.verify(&state)
	c.wire.rw, c.sess.TLS, c.secured.served = secure, &state, w.certificate
	return true
}

// asks says whether a client certificate could make a difference: by its names,
// or by EXTERNAL.
func (c *conn) asks() bool {
	con := c.sess.Connector
	return con.AsksForCertificate() ||
		c.authKnown() && c.settings.Auth.Certificates != nil &&
			policy.DecideAuth(c.settings.Auth, con, true) == nil
}

// verify looks at the certificate that the client has shown and sets
// VerifiedChains if it is good. Without ClientCAs none is: the system's
// roots vouch for far more hosts than anybody would want to let in.
func (c *conn) verify(state *tls.ConnectionState) {
	cas := c.settings.TLS.ClientCAs
	if len(state.PeerCertificates) == 0 || len(state.VerifiedChains) > 0 || cas == nil ||
		!c.asks() {
		return
	}
	opts := x509.VerifyOptions{
		Roots:         cas,
		Intermediates: x509.NewCertPool(),
		// Mail servers show the certificate they serve with, and public
		// authorities issue no other.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if now := c.settings.TLS.Time; now != nil {
		opts.CurrentTime = now()
	}
	for _, cert := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	chains, err := state.PeerCertificates[0].Verify(opts)
	if err != nil {
		c.log.Info("client certificate does not count",
			logkey.Session, c.sess.ID, logkey.Remote, c.sess.Remote.Addr(), logkey.Err, err)
		return
	}
	state.VerifiedChains = chains
}

// names returns the DNS names that the client's certificate proves.
func (c *conn) names() []string {
	if t := c.sess.TLS; t != nil && len(t.VerifiedChains) > 0 {
		return t.VerifiedChains[0][0].DNSNames
	}
	return nil
}

// prefixed is a connection of which something has been read already.
type prefixed struct {
	net.Conn
	rest []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
