package smtpd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// ca issues client certificates.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	// chain leads from its certificates to the authority above; empty at the
	// top.
	chain [][]byte
}

func newCA() *ca {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	c := &ca{key: key, pool: x509.NewCertPool()}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		panic(err)
	}
	c.pool.AddCert(c.cert)
	return c
}

var authority = sync.OnceValue(newCA)

// issue returns a certificate for these names, changed by change.
func (c *ca) issue(change func(*x509.Certificate), names ...string) *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, &key.PublicKey, c.key)
	if err != nil {
		panic(err)
	}
	return &tls.Certificate{Certificate: append([][]byte{der}, c.chain...), PrivateKey: key}
}

// intermediate returns an authority that c vouches for.
func (c *ca) intermediate() *ca {
	sub := c.issue(func(t *x509.Certificate) {
		t.IsCA, t.BasicConstraintsValid = true, true
		t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageCertSign, nil
		t.Subject.CommonName = "intermediate"
	})
	cert, err := x509.ParseCertificate(sub.Certificate[0])
	if err != nil {
		panic(err)
	}
	return &ca{cert: cert, key: sub.PrivateKey.(*ecdsa.PrivateKey), chain: sub.Certificate}
}

// proof notes what sessions have shown at MAIL.
type proof struct {
	*recorder
	rights   connector.Right
	verified bool
	user     string
}

func (b *proof) Mail(_ context.Context, s *smtpd.Session, m *smtpd.Mail) error {
	b.rights, b.verified, b.user = s.Rights, s.TLS != nil && len(s.TLS.VerifiedChains) > 0, ""
	if s.Identity != nil {
		b.user = s.Identity.User
	}
	return b.recorder.Mail(context.Background(), s, m)
}

// A certificate counts when it is good and names somebody that the connector
// knows; when it is not, the session goes on as if there were none.
func TestClientCertificates(t *testing.T) {
	good, other := authority(), newCA()
	middle := good.intermediate()
	c := open()
	c.FQDN = ""
	c.AuthMechanisms |= connector.ExchangeServer
	c.PermissionGroups |= connector.ExchangeServers | connector.Partners
	c.ServerNames = []string{"relay2.example.test"}
	c.PartnerNames = map[string]string{"mail.partner.test": "partner.test"}
	c.Grants = []connector.Grant{
		{Principal: connector.PartnerName("partner.test"), Rights: connector.AcceptAnyRecipient},
	}
	anonymous, server := connector.AnonymousUsers.Rights(), connector.ExchangeServers.Rights()
	partner := connector.Partners.Rights() | connector.AcceptAnyRecipient
	for _, test := range []struct {
		name string
		cert *tls.Certificate
		want connector.Right
		good bool
	}{
		{"none", nil, anonymous, false},
		{"server", good.issue(nil, "relay2.example.test"), server, true},
		{
			"server among other names",
			good.issue(nil, "www.example.test", "mail.partner.test", "RELAY2.example.test"), server,
			true,
		},
		{"server by the certificate that it serves with", good.issue(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, "relay2.example.test"), server, true},
		{
			"server by an intermediate authority", middle.issue(nil, "relay2.example.test"), server,
			true,
		},
		{"partner", good.issue(nil, "mail.partner.test"), partner, true},
		{
			"partner by a later name", good.issue(nil, "www.example.test", "mail.partner.test"),
			partner, true,
		},
		{"stranger", good.issue(nil, "mail.example.org"), anonymous, true},
		{"wildcard", good.issue(nil, "*.example.test", "*.partner.test"), anonymous, true},
		{"a common name only", good.issue(func(c *x509.Certificate) {
			c.Subject.CommonName = "relay2.example.test"
		}), anonymous, true},
		{"an address", good.issue(func(c *x509.Certificate) {
			c.EmailAddresses = []string{"relay2.example.test"}
		}), anonymous, true},
		{"another authority", other.issue(nil, "relay2.example.test"), anonymous, false},
		{"expired", good.issue(func(c *x509.Certificate) {
			c.NotAfter = time.Unix(1, 0)
		}, "relay2.example.test"), anonymous, false},
		{"not yet valid", good.issue(func(c *x509.Certificate) {
			c.NotBefore = time.Unix(1<<32, 0)
		}, "relay2.example.test"), anonymous, false},
		{"for signing code", good.issue(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		}, "relay2.example.test"), anonymous, false},
		{"self-signed", func() *tls.Certificate {
			c := certificate()
			return &c
		}(), anonymous, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubbleWith(t, func(cfg *smtpd.Config) {
				cfg.Settings.TLS.ClientCAs = good.pool
			}, func(t *testing.T, r *rig) {
				b := &proof{recorder: r.backend}
				r.settings.Backend = b
				r.server.Apply(r.settings)
				cfg := clientTLS()
				cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				cfg.ServerName = "relay.example.test"
				if test.cert != nil {
					cfg.GetClientCertificate = func(
						*tls.CertificateRequestInfo,
					) (*tls.Certificate, error) {
						return test.cert, nil
					}
				}
				for range 2 { // the second time the TLS session is resumed
					p := r.client()
					p.Expect("220 *")
					p.Say("STARTTLS")
					p.Expect("220 *")
					p.Sent()
					p.Handshake(cfg)
					p.EHLO()
					p.Say("MAIL FROM:<a@example.test>", "QUIT")
					p.Expect("250 *", "221 *")
					p.Close()
					if b.rights != test.want || b.verified != test.good {
						t.Errorf("verified %v, rights %s, want %s", b.verified, b.rights, test.want)
					}
				}
				// Whoever speaks for others does not lend them its certificate.
				r.settings.XClient = []connector.Range{connector.MustParseRange("192.0.2.7")}
				r.server.Apply(r.settings)
				p := r.client()
				p.Expect("220 *")
				p.Say("STARTTLS")
				p.Expect("220 *")
				p.Sent()
				p.Handshake(cfg)
				p.Say("XCLIENT ADDR=192.0.2.9 HELO=a", "MAIL FROM:<a@example.test>")
				p.Expect("220 *", "250 *")
				if b.rights != anonymous {
					t.Errorf("after XCLIENT: %s", b.rights)
				}
			}, c)
		})
	}
}

// Without authorities nobody vouches for a certificate, and none is asked for.
func TestNoClientAuthorities(t *testing.T) {
	c := open()
	c.PermissionGroups |= connector.Partners
	bubble(t, func(t *testing.T, r *rig) {
		b := &proof{recorder: r.backend}
		r.settings.Backend = b
		r.settings.TLS.ClientAuth = tls.RequireAnyClientCert // by the application's own wish
		r.server.Apply(r.settings)
		p := r.client()
		p.Expect("220 *")
		p.Say("STARTTLS")
		p.Expect("220 *")
		cfg := clientTLS()
		cfg.Certificates = []tls.Certificate{*authority().issue(nil, "partner.test")}
		p.Handshake(cfg)
		p.EHLO()
		p.Say("MAIL FROM:<a@example.test>")
		p.Expect("250 *")
		if b.verified || b.rights != connector.AnonymousUsers.Rights() {
			t.Errorf("verified %v, rights %s", b.verified, b.rights)
		}
	}, c)
}

// The clock and the insistence of the application's TLS configuration are kept.
func TestOwnClientAuth(t *testing.T) {
	c := open()
	c.PermissionGroups |= connector.Partners
	bubbleWith(t, func(cfg *smtpd.Config) {
		cfg.Settings.TLS.ClientCAs = authority().pool
		// everything has expired
		cfg.Settings.TLS.Time = func() time.Time { return time.Unix(1<<34, 0) }
	}, func(t *testing.T, r *rig) {
		b := &proof{recorder: r.backend}
		r.settings.Backend = b
		r.server.Apply(r.settings)
		cfg := clientTLS()
		cfg.Certificates = []tls.Certificate{*authority().issue(nil, "partner.test")}
		begin := func() *client {
			p := r.client()
			p.Expect("220 *")
			p.Say("STARTTLS")
			p.Expect("220 *")
			p.Sent()
			return p
		}
		p := begin()
		p.Handshake(cfg)
		p.EHLO()
		p.Say("MAIL FROM:<a@example.test>")
		p.Expect("250 *")
		if b.verified {
			t.Error("an expired certificate counts")
		}
		r.settings.TLS = r.settings.TLS.Clone()
		r.settings.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		r.server.Apply(r.settings)
		p = begin()
		if err := p.TryHandshake(cfg); err == nil { // TLS 1.3: the alert comes after
			p.Say("NOOP")
			if line, err := p.Line(); err == nil {
				t.Errorf("the session goes on: %q", line)
			}
		}
	}, c)
}
