package outbound_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

// resumptions is a next hop with TLS that notes which handshakes resumed a
// session, as "full" or "resumed".
type resumptions struct {
	sink
	mu   sync.Mutex
	seen []string
}

func newResumptions(version uint16, certs ...tls.Certificate) *resumptions {
	s := &resumptions{}
	s.extensions = []string{"STARTTLS"}
	s.tls = &tls.Config{
		MinVersion: version, MaxVersion: version, Certificates: certs,
		VerifyConnection: func(cs tls.ConnectionState) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if cs.DidResume {
				s.seen = append(s.seen, "resumed")
			} else {
				s.seen = append(s.seen, "full")
			}
			return nil
		},
	}
	return s
}

func (s *resumptions) took() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := strings.Join(s.seen, " ")
	s.seen = nil
	return seen
}

func eachVersion(t *testing.T, test func(t *testing.T, version uint16)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) { test(t, version) })
	}
}

func TestTLSSessionsAreResumed(t *testing.T) {
	root := certificate("root", nil, time.Now().Add(time.Hour))
	pool := x509.NewCertPool()
	pool.AddCert(root.Leaf)
	good := certificate("mx.example.net", &root, time.Now().Add(time.Hour))
	eachVersion(t, func(t *testing.T, version uint16) {
		s := newResumptions(version, good)
		c := newClient(t, dialTo(listen(t, s.serve)))
		deliver := func(change func(*connector.NextHop)) string {
			t.Helper()
			r := newRequest("hi\r\n")
			r.Hop.MessagesPerConnection = 1
			r.Hop.TLS, r.Hop.RootCAs = connector.TLSDomainValidation, pool
			r.Hop.TLSDomain = "mx.example.net"
			change(r.Hop)
			expect(t, c.Deliver(t.Context(), r), taken)
			return s.took()
		}
		same := func(*connector.NextHop) {}
		for i, want := range []string{"full", "resumed", "resumed"} {
			if got := deliver(same); got != want {
				t.Errorf("handshake %d: %s, want %s", i, got, want)
			}
		}
		// Nobody resumes what was made by other settings.
		for name, change := range map[string]func(*connector.NextHop){
			"level": func(h *connector.NextHop) {
				h.TLS = connector.TLSCertificateValidation
			},
			"no checks":   func(h *connector.NextHop) { h.TLS = connector.TLSOpportunistic },
			"roots":       func(h *connector.NextHop) { h.RootCAs = pool.Clone() },
			"certificate": func(h *connector.NextHop) { h.Certificates = []tls.Certificate{good} },
			"password": func(h *connector.NextHop) {
				h.Password = "other" // without a user it is not sent
			},
		} {
			if got := deliver(change); got != "full" {
				t.Errorf("%s: %s, want full", name, got)
			}
		}
	})
}

// A certificate that has expired since the handshake is not believed any
// longer, its own or that of an authority, and its successor is.
func TestResumedSessionIsVerified(t *testing.T) {
	for _, authority := range []bool{false, true} {
		eachVersion(t, func(t *testing.T, version uint16) {
			synctest.Test(t, func(t *testing.T) { expireBehind(t, version, authority) })
		})
	}
}

func expireBehind(t *testing.T, version uint16, authority bool) {
	soon, later := time.Now().Add(10*time.Minute), time.Now().Add(time.Hour)
	root := certificate("root", nil, later)
	pool := x509.NewCertPool()
	pool.AddCert(root.Leaf)
	first := certificate("mx.example.net", &root, soon)
	if authority {
		middle := resign(certificate("middle", nil, soon), &root)
		first = certificate("mx.example.net", &middle, later)
		first.Certificate = append(first.Certificate, middle.Certificate...)
	}
	s := newResumptions(version, first)
	c := newClient(t, dialPipe(s.serve))
	r := newRequest("hi\r\n")
	r.Hop.MessagesPerConnection = 1
	r.Hop.TLS, r.Hop.RootCAs = connector.TLSCertificateValidation, pool
	deliver := func(want string) string {
		t.Helper()
		expect(t, c.Deliver(context.Background(), r), want)
		return s.took()
	}
	if got := deliver(taken) + deliver(taken); got != "fullresumed" {
		t.Errorf("handshakes %s", got)
	}
	time.Sleep(11 * time.Minute)
	deliver("temporary starttls 0 4.7.5 error")
	s.tls.Certificates = []tls.Certificate{certificate("mx.example.net", &root, later)}
	if got := deliver(taken); got != "full" {
		t.Errorf("handshake %s with the new certificate", got)
	}
}

// resign has a certificate signed by another.
func resign(c tls.Certificate, by *tls.Certificate) tls.Certificate {
	der, err := x509.CreateCertificate(nil, c.Leaf, by.Leaf, c.Leaf.PublicKey, by.PrivateKey)
	if err != nil {
		panic(err)
	}
	if c.Leaf, err = x509.ParseCertificate(der); err != nil {
		panic(err)
	}
	c.Certificate = [][]byte{der}
	return c
}

// A peer that breaks where a session is resumed gets a whole handshake, and
// never the message in the clear over it.
func TestPeerThatCannotResume(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		for _, level := range []connector.TLSLevel{
			connector.TLSOpportunistic, connector.TLSEncryptionOnly,
		} {
			s := newResumptions(version, selfSigned().Certificates...)
			note := s.tls.VerifyConnection
			s.tls.VerifyConnection = func(cs tls.ConnectionState) error {
				note(cs)
				if cs.DidResume {
					return errors.New("lost its mind")
				}
				return nil
			}
			c := newClient(t, dialTo(listen(t, s.serve)))
			r := newRequest("hi\r\n")
			r.Hop.TLS, r.Hop.MessagesPerConnection = level, 1
			for range 3 {
				expect(t, c.Deliver(t.Context(), r), taken)
			}
			if got := s.took(); got != "full resumed full resumed full" {
				t.Errorf("handshakes %s", got)
			}
			s.sink.mu.Lock()
			if n := len(slices.DeleteFunc(s.verbs, func(v string) bool {
				return v != "STARTTLS"
			})); n != 5 {
				t.Errorf("STARTTLS on %d connections, want 5", n)
			}
			s.sink.mu.Unlock()
		}
	})
}

// Sessions with more certificates than a peer needs are not kept: a chain may
// be as long as 256 KiB.
func TestSessionsWithLongChainsAreNotKept(t *testing.T) {
	long := certificate("mx.example.net", nil, time.Now().Add(time.Hour))
	for range 120 {
		long.Certificate = append(long.Certificate, long.Certificate[0])
	}
	eachVersion(t, func(t *testing.T, version uint16) {
		s := newResumptions(version, long)
		c := newClient(t, dialTo(listen(t, s.serve)))
		r := newRequest("hi\r\n")
		r.Hop.MessagesPerConnection = 1
		for range 2 {
			expect(t, c.Deliver(t.Context(), r), taken)
		}
		if got := s.took(); got != "full full" || c.Sessions() != 0 {
			t.Errorf("handshakes %s, %d sessions are kept", got, c.Sessions())
		}
	})
}

// The sessions that are kept are bounded.
func TestSessionsBound(t *testing.T) {
	s := newResumptions(tls.VersionTLS13, selfSigned().Certificates...)
	c := newClient(t, func(ctx context.Context, network, addr string) (net.Conn, error) {
		return dialPipe(s.serve)(ctx, network, addr)
	})
	for i := range 520 {
		r := newRequest("hi\r\n")
		r.Hop.Hosts = []string{fmt.Sprintf("10.0.%d.%d", i/250, i%250)}
		r.Hop.MessagesPerConnection = 1
		expect(t, c.Deliver(t.Context(), r), taken)
	}
	if n := c.Sessions(); n < 490 || n > outbound.MaxSessions {
		t.Errorf("%d sessions are kept", n)
	}
}
