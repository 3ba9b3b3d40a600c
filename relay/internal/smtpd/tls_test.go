package smtpd_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// TLS 1.0 and 1.1 are for those who ask for them.
func TestOldTLS(t *testing.T) {
	for _, least := range []uint16{0, tls.VersionTLS10, tls.VersionTLS13} {
		for _, most := range []uint16{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
			bubbleWith(t, func(cfg *smtpd.Config) {
				cfg.Settings.TLS.MinVersion = least
			}, func(t *testing.T, r *rig) {
				p := r.client()
				p.Expect("220 *")
				p.Say("STARTTLS")
				p.Expect("220 *")
				p.Sent()
				cfg := clientTLS()
				cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, most
				err := p.TryHandshake(cfg)
				if want := most >= max(least, tls.VersionTLS12) ||
					least == tls.VersionTLS10; (err == nil) != want {
					t.Errorf("from %x, up to %x: %v", least, most, err)
				}
			}, open())
		}
	}
}

// Unless the application names suites, or a version that has no others, TLS 1.2
// goes without those that lack forward secrecy or authenticated encryption.
func TestSuites(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	both := []tls.Certificate{certificate(), {Certificate: [][]byte{der}, PrivateKey: key}}
	modern := map[uint16]bool{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:       true,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:         true,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:       true,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:         true,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: true,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:   true,
	}
	old := map[uint16]bool{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: true,
		tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA:   true,
	}
	chosen := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	ask := func(c *tls.Config) *tls.Config {
		return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c, nil
		}}
	}
	for _, test := range []struct {
		name   string
		config *tls.Config
		want   map[uint16]bool // besides, with all, what crypto/tls has
		all    bool
	}{
		{"nothing said", &tls.Config{Certificates: both}, modern, false},
		{
			"TLS 1.2 at least", &tls.Config{Certificates: both, MinVersion: tls.VersionTLS12},
			modern, false,
		},
		{
			"TLS 1.0 at least", &tls.Config{Certificates: both, MinVersion: tls.VersionTLS10}, old,
			true,
		},
		{
			"suites named", &tls.Config{Certificates: both, CipherSuites: chosen},
			map[uint16]bool{chosen[0]: true}, false,
		},
		{"for the client, nothing said", ask(&tls.Config{Certificates: both}), modern, false},
		{
			"for the client, suites named",
			ask(&tls.Config{Certificates: both, CipherSuites: chosen}),
			map[uint16]bool{chosen[0]: true}, false,
		},
	} {
		bubbleWith(t, func(cfg *smtpd.Config) {
			cfg.Settings.TLS = test.config
		}, func(t *testing.T, r *rig) {
			for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
				if suite.SupportedVersions[0] == tls.VersionTLS13 ||
					test.all && !test.want[suite.ID] {
					continue
				}
				p := r.client()
				p.Expect("220 *")
				p.Say("STARTTLS")
				p.Expect("220 *")
				cfg := clientTLS()
				cfg.MaxVersion, cfg.CipherSuites = tls.VersionTLS12, []uint16{suite.ID}
				err := p.TryHandshake(cfg)
				if (err == nil) != test.want[suite.ID] {
					t.Errorf("%s, %s: %v", test.name, suite.Name, err)
				}
				p.Close()
			}
		}, open())
	}
}

// A client that was led here from another protocol gets no TLS connection
// (ALPACA), whatever the application's configuration is good for elsewhere.
func TestALPN(t *testing.T) {
	web := func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }
	for name, change := range map[string]func(*tls.Config){
		"no protocols":     func(*tls.Config) {},
		"those of the web": web,
		"for each client": func(c *tls.Config) {
			chosen := c.Clone()
			web(chosen)
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				return chosen, nil
			}
		},
	} {
		bubbleWith(t, func(cfg *smtpd.Config) {
			change(cfg.Settings.TLS)
		}, func(t *testing.T, r *rig) {
			for _, tt := range []struct {
				asked []string
				taken bool
			}{
				{nil, true}, {[]string{"smtp"}, true}, {[]string{"http/1.1", "smtp"}, true},
				{[]string{"http/1.1"}, false}, {[]string{"h2", "http/1.1"}, false},
				{[]string{"imap"}, false}, {[]string{"ftp", "pop3"}, false},
			} {
				p := r.client()
				p.Expect("220 *")
				p.Say("STARTTLS")
				p.Expect("220 *")
				err := p.TryHandshake(&tls.Config{
					InsecureSkipVerify: true, NextProtos: tt.asked,
				})
				if (err == nil) != tt.taken {
					t.Errorf("%s, asked for %q: %v", name, tt.asked, err)
				}
				p.Close()
			}
		}, open())
	}
}

// A client that comes again resumes its TLS session, whether the configuration
// is the same for all clients or chosen for each: a full handshake costs as
// much as the rest of a small message.
func TestClientsResumeTLSSessions(t *testing.T) {
	for name, change := range map[string]func(*tls.Config){
		"one configuration": func(*tls.Config) {},
		"for each client": func(c *tls.Config) {
			chosen := c.Clone()
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				return chosen, nil
			}
		},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			bubbleWith(t, func(cfg *smtpd.Config) {
				change(cfg.Settings.TLS)
			}, func(t *testing.T, r *rig) {
				var resumed []bool
				cfg := clientTLS()
				cfg.ServerName, cfg.MaxVersion = "relay.example.test", version
				cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				cfg.VerifyConnection = func(s tls.ConnectionState) error {
					resumed = append(resumed, s.DidResume)
					return nil
				}
				for range 3 {
					p := r.client()
					p.Expect("220 *")
					p.Say("STARTTLS")
					p.Expect("220 *")
					p.Sent()
					if err := p.TryHandshake(cfg); err != nil {
						t.Fatal(err)
					}
					p.Say("NOOP")
					p.Expect("250 *")
					p.Close()
				}
				if want := []bool{false, true, true}; !slices.Equal(resumed, want) {
					t.Errorf("%s, TLS %x: resumed %v, want %v", name, version, resumed, want)
				}
			}, open())
		}
	}
}
