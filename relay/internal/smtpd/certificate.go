package smtpd

import (
	"crypto/tls"
	"crypto/x509"
)

// asking returns a configuration that asks the client for a certificate,
// without insisting on one or on its being good: crypto/tls would end the
// handshake over a bad one, and a client whose certificate has
// expired could not send what anybody may send.
func asking(c *tls.Config) *tls.Config {
	if c == nil || c.ClientCAs == nil || c.ClientAuth != tls.NoClientCert {
		return c
	}
	c = c.Clone()
	c.ClientAuth = tls.RequestClientCert
	return c
}

// verify looks at the certificate that the client has shown and sets
// VerifiedChains if it is good. Without ClientCAs none is: the system's
// roots vouch for far more hosts than anybody would want to let in.
func (g *guard) verify(state *tls.ConnectionState) {
	cas := g.pol.TLS.ClientCAs
	if len(state.PeerCertificates) == 0 || len(state.VerifiedChains) > 0 || cas == nil || !g.sess.Connector.AsksForCertificate() {
		return
	}
	opts := x509.VerifyOptions{
		Roots:         cas,
		Intermediates: x509.NewCertPool(),
		// Mail servers show the certificate they serve with, and public authorities issue no other.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if now := g.pol.TLS.Time; now != nil {
		opts.CurrentTime = now()
	}
	for _, c := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	chains, err := state.PeerCertificates[0].Verify(opts)
	if err != nil {
		g.log.Info("client certificate does not count", "session", g.sess.ID, "remote", g.sess.Remote, "error", err)
		return
	}
	state.VerifiedChains = chains
}

// names returns the DNS names that the client's certificate proves. After XCLIENT they are those of
// the host that speaks for the client.
func (g *guard) names() []string {
	if t := g.sess.TLS; t != nil && !g.spoken && len(t.VerifiedChains) > 0 {
		return t.VerifiedChains[0][0].DNSNames
	}
	return nil
}
