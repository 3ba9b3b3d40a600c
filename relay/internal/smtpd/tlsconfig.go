package smtpd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
)

// serving returns the configuration to serve with. Where the application says
// nothing, there is no TLS 1.0 and 1.1, and TLS 1.2 has modern suites only:
// what crypto/tls does depends on the go.mod of the application. A client that
// asks by ALPN for another protocol has been led here (RFC 9325 section 3.7). A
// witness is told which certificate was served.
func serving(c *tls.Config, witnessed bool) *tls.Config {
	if c == nil {
		return c
	}
	own := c.Clone()
	own.NextProtos = []string{"smtp"}
	if own.MinVersion == 0 {
		own.MinVersion = tls.VersionTLS12
	}
	if own.CipherSuites == nil && own.MinVersion >= tls.VersionTLS12 {
		own.CipherSuites = modernSuites()
	}
	if ask := c.GetConfigForClient; ask != nil {
		own.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := ask(hello)
			return serving(chosen, witnessed), err
		}
	}
	if witnessed {
		own.Certificates = nil
		own.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			served, err := choose(c, hello)
			if w, ok := hello.Conn.(*witness); ok && err == nil {
				if w.certificate = served.Leaf; w.certificate == nil &&
					len(served.Certificate) > 0 {
					w.certificate, _ = x509.ParseCertificate(served.Certificate[0])
				}
			}
			return served, err
		}
	}
	return own
}

// modernSuites are those of TLS 1.2 with forward secrecy and authenticated
// encryption (RFC 9325 section 4.2).
func modernSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

var errNoCertificate = errors.New("smtpd: the TLS configuration has no certificate")

// choose does what crypto/tls does with Certificates and GetCertificate.
func choose(c *tls.Config, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.GetCertificate != nil && (len(c.Certificates) == 0 || hello.ServerName != "") {
		if served, err := c.GetCertificate(hello); served != nil || err != nil {
			return served, err
		}
	}
	for i := range c.Certificates {
		if hello.SupportsCertificate(&c.Certificates[i]) == nil {
			return &c.Certificates[i], nil
		}
	}
	if len(c.Certificates) == 0 {
		return nil, errNoCertificate
	}
	return &c.Certificates[0], nil
}

// witness is the connection under TLS. It learns which certificate was served,
// to which a client may bind its logon (RFC 5929 section 4). A resumed TLS
// session serves none.
type witness struct {
	net.Conn
	certificate *x509.Certificate
}

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
