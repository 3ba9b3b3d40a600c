package outbound_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

// certificate makes a certificate for a name, signed by parent or, without one,
// by itself.
func certificate(name string, parent *tls.Certificate, expires time.Time) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		NotBefore:             time.Now().Add(-48 * time.Hour),
		NotAfter:              expires,
		BasicConstraintsValid: true,
		IsCA:                  parent == nil,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	by, signer := template, any(key)
	if parent != nil {
		by, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, signer)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func selfSigned() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{
			certificate("mx.example.net", nil, time.Now().Add(time.Hour)),
		},
	}
}

func TestTLSLevels(t *testing.T) {
	later := time.Now().Add(time.Hour)
	root := certificate("root", nil, later)
	pool := x509.NewCertPool()
	pool.AddCert(root.Leaf)

	certificates := map[string]tls.Certificate{
		"good":    certificate("mx.example.net", &root, later),
		"domain":  certificate("example.org", &root, later),
		"other":   certificate("other.example", &root, later),
		"expired": certificate("mx.example.net", &root, time.Now().Add(-time.Hour)),
		"self":    certificate("mx.example.net", nil, later),
	}
	const (
		inTLS = "TLS"
		plain = "plain"
	)
	noTLS, badTLS := "temporary starttls 0 4.7.4 error", "temporary starttls 0 4.7.5 error"
	for _, test := range []struct {
		level connector.TLSLevel
		// by the certificate of the peer: how the message came, or the result
		good, domain, other, expired, self string
		none, broken                       string // STARTTLS not offered; handshake fails
	}{
		{connector.TLSNone, plain, plain, plain, plain, plain, plain, plain},
		{connector.TLSOpportunistic, inTLS, inTLS, inTLS, inTLS, inTLS, plain, plain},
		{connector.TLSEncryptionOnly, inTLS, inTLS, inTLS, inTLS, inTLS, noTLS, badTLS},
		{connector.TLSCertificateValidation, inTLS, inTLS, inTLS, badTLS, badTLS, noTLS, badTLS},
		{connector.TLSDomainValidation, inTLS, badTLS, badTLS, badTLS, badTLS, noTLS, badTLS},
	} {
		for name, want := range map[string]string{
			"good": test.good, "domain": test.domain, "other": test.other, "expired": test.expired,
			"self": test.self,
			"none": test.none, "broken": test.broken,
		} {
			t.Run(string('0'+rune(test.level))+"/"+name, func(t *testing.T) {
				s := &sink{
					extensions: []string{"STARTTLS"},
					tls:        &tls.Config{Certificates: []tls.Certificate{certificates[name]}},
				}
				switch name {
				case "none":
					s.extensions = nil
				case "broken":
					s.tls = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (
						*tls.Certificate, error,
					) {
						return nil, io.EOF
					}}
				}
				c := newClient(t, dialTo(listen(t, s.serve)))
				r := newRequest("hi\r\n")
				r.Hop.TLS, r.Hop.RootCAs = test.level, pool
				res := c.Deliver(t.Context(), r)
				switch want {
				case inTLS, plain:
					expect(t, res, taken)
					s.mu.Lock()
					got := strings.Join(s.verbs, " ")
					s.mu.Unlock()
					if secure := strings.Contains(got, "STARTTLS") &&
						s.conns.Load() == 1; secure != (want == inTLS) {
						t.Errorf("verbs %s, want %s", got, want)
					}
				default:
					expect(t, res, want)
				}
			})
		}
	}

	// The name that TLSDomainValidation asks for.
	for _, test := range []struct{ certificate, tlsDomain, domain, want string }{
		{"other", "other.example", "", taken},
		{"good", "other.example", "", badTLS},
		{"domain", "", "example.org", taken}, // MX: the recipient domain
		{"good", "", "example.org", badTLS},
		{"good", "mx.example.net", "example.org", taken},
	} {
		s := &sink{
			extensions: []string{"STARTTLS"},
			tls: &tls.Config{
				Certificates: []tls.Certificate{certificates[test.certificate]},
			},
		}
		c := newClient(t, dialTo(listen(t, s.serve)), func(cfg *outbound.Config) {
			cfg.Resolver = zone{
				ip: oneHost.ip,
				mx: map[string][]*net.MX{"example.org": {{Host: "mx.example.net."}}},
			}
		})
		r := newRequest("hi\r\n")
		r.Hop.TLS, r.Hop.RootCAs = connector.TLSDomainValidation, pool
		r.Hop.TLSDomain = test.tlsDomain
		if test.domain != "" {
			r.Hop.Hosts, r.Domain = nil, test.domain
		}
		expect(t, c.Deliver(t.Context(), r), test.want)
	}
}

// A client certificate is shown when there is one.
func TestTLSImplicit(t *testing.T) {
	mine := certificate("relay.example.test", nil, time.Now().Add(time.Hour))
	cfg := selfSigned()
	cfg.ClientAuth = tls.RequireAnyClientCert
	s := &sink{}
	c := newClient(t, dialTo(listen(t, func(nc net.Conn) { s.serve(tls.Server(nc, cfg)) })))
	r := newRequest("hi\r\n")
	r.Hop.ImplicitTLS = true
	r.Hop.Certificates = []tls.Certificate{mine}
	expect(t, c.Deliver(t.Context(), r), taken)
	expect(t, c.Deliver(t.Context(), r), taken)
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// RFC 3207 section 5: what stands behind the reply to STARTTLS in the clear is
// not taken for something said in TLS.
func TestTLSInjection(t *testing.T) {
	answers := make(chan string, 1)
	l := listen(t, func(nc net.Conn) {
		defer nc.Close()
		buf := make([]byte, 512)
		io.WriteString(nc, "220 mx\r\n")
		nc.Read(buf)
		io.WriteString(nc, "250-mx\r\n250 STARTTLS\r\n")
		nc.Read(buf)
		io.WriteString(nc, "220 go on\r\n250 injected\r\n")
		n, _ := nc.Read(buf)
		answers <- string(buf[:n])
	})
	c := newClient(t, dialTo(l))
	r := newRequest("hi\r\n")
	r.Hop.TLS = connector.TLSEncryptionOnly
	expect(t, c.Deliver(t.Context(), r), "temporary starttls 0 4.7.5 error")
	if s := <-answers; s != "" {
		t.Errorf("the client went on with %q", s)
	}
}

// A peer that refuses STARTTLS is spoken to in the clear, where that is
// allowed, on the same connection.
func TestTLSRefused(t *testing.T) {
	for level, want := range map[connector.TLSLevel]string{
		connector.TLSOpportunistic:  "permanent mail 550 5.7.1 \"no\"",
		connector.TLSEncryptionOnly: "temporary starttls 502 5.7.0 \"not now\"",
	} {
		c := newClient(t, dialTo(listen(t, func(c net.Conn) {
			defer c.Close()
			follow(c, []string{
				"S: 220 mx", "C: EHLO relay.example.test", "S: 250-mx", "S: 250 STARTTLS",
				"C: STARTTLS", "S: 502 5.7.0 not now",
				"C: MAIL FROM:<alice@example.com>", "S: 550 5.7.1 no",
			})
		})))
		r := newRequest("hi\r\n")
		r.Hop.TLS = level
		expect(t, c.Deliver(t.Context(), r), want)
	}
}

// A peer that breaks TLS off once it stands is spoken to in the clear, where
// that is allowed.
func TestTLSBreaksBehindHandshake(t *testing.T) {
	asking := selfSigned() // in TLS 1.3 the client learns of it when it reads
	asking.ClientAuth = tls.RequireAnyClientCert
	hello := []string{"S: 220 mx", "C: EHLO relay.example.test", "S: 250-mx", "S: 250 STARTTLS"}
	inTLS := append(
		slices.Clip(hello), "C: STARTTLS", "S: 220 go on", "tls", "C: EHLO relay.example.test",
	)
	mail := "C: MAIL FROM:<alice@example.com>"
	for name, script := range map[string][]string{
		"at the handshake's end": nil,
		"at EHLO":                append(slices.Clip(inTLS), "close"),
		"EHLO refused":           append(slices.Clip(inTLS), "S: 421 4.7.0 certificate required"),
		"at MAIL":                append(slices.Clip(inTLS), "S: 250 mx", mail, "close"),
		"421 to STARTTLS":        append(slices.Clip(hello), "C: STARTTLS", "S: 421 4.7.0 no"),
	} {
		for level, delivered := range map[connector.TLSLevel]bool{
			connector.TLSOpportunistic: true, connector.TLSEncryptionOnly: false,
		} {
			t.Run(name+"/"+level.String(), func(t *testing.T) {
				s := &sink{extensions: []string{"STARTTLS"}, tls: asking}
				serve := s.serve
				var n atomic.Int64
				if script != nil {
					serve = func(c net.Conn) {
						defer c.Close()
						if n.Add(1); delivered && n.Load() == 2 {
							s.serve(c)
							return
						}
						speak(c, script)
					}
				}
				c := newClient(t, dialTo(listen(t, serve)))
				r := newRequest("hi\r\n")
				r.Hop.TLS = level
				res := c.Deliver(t.Context(), r)
				if res[0].Delivered != delivered || failureOf(res[0]).Permanent {
					t.Errorf("%s (%v)", show(res[0]), res[0].Err)
				}
				if !delivered && s.accepted.Load() > 0 {
					t.Error("the message went out in the clear")
				}
			})
		}
	}
}

// A password that is not for the clear is not given up for a peer that breaks
// TLS.
func TestTLSBreaksWithPassword(t *testing.T) {
	asking := selfSigned()
	asking.ClientAuth = tls.RequireAnyClientCert
	s := &sink{extensions: []string{"STARTTLS", "AUTH PLAIN"}, tls: asking}
	c := newClient(t, dialTo(listen(t, s.serve)))
	r := newRequest("hi\r\n")
	r.Hop.Username, r.Hop.Password = "u", "p"
	res := c.Deliver(t.Context(), r)
	if (res[0].Delivered || failureOf(res[0]).Permanent) || s.conns.Load() != 1 {
		t.Errorf("%s, %d connections", show(res[0]), s.conns.Load())
	}
}

// A peer that never answers the ClientHello does not hold a delivery for ever.
func TestTLSSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, dialPipe(func(c net.Conn) {
			defer c.Close()
			io.Copy(io.Discard, c)
		}))
		r := newRequest("hi\r\n")
		r.Hop.ImplicitTLS = true
		began := time.Now()
		expect(t, c.Deliver(context.Background(), r), "temporary starttls 0 4.7.5 error")
		if d := time.Since(began); d != 30*time.Second { // ConnectTimeout
			t.Errorf("it took %v", d)
		}
	})
}
