package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/smtp"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

const domain = "relay.example.com"

// TestACME gets certificates from Pebble, Let's Encrypt's server for tests.
func TestACME(t *testing.T) {
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	for _, with := range []string{"autocert", "certmagic"} {
		t.Run(with, func(t *testing.T) {
			sink := mailtest.NewSink(t)
			dir := t.TempDir()
			o := options{
				listen: netip.MustParseAddrPort("127.0.0.1:0"),
				users:  filepath.Join(dir, "users.htpasswd"), smartHost: sink.Addr, with: with,
			}
			mailtest.Htpasswd(t, o.users, "app@example.com", "secret")
			o.authority.domain, o.authority.cache = domain, filepath.Join(dir, "certificates")
			challenges := listen(t)
			pebble := startPebble(t, challenges.Addr(), &o.authority)

			start := func(challenges net.Listener) (addr string, stop context.CancelFunc) {
				t.Helper()
				ctx, stop := context.WithCancel(t.Context())
				cfg, err := config(ctx, challenges, o)
				if err != nil {
					t.Fatal(err)
				}
				cfg.Spool = memspool.New(nil)
				r, err := relay.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				mailtest.Run(t, r)
				return r.Addrs("submission")[0].String(), stop
			}
			addr, stop := start(challenges)
			c := logon(t, addr, pebble.roots)
			if err := mailtest.Send(
				c, "app@example.com", "somebody@example.net", "hello",
			); err != nil {
				t.Fatal(err)
			}
			sink.Next(t)
			withoutName(t, addr, pebble.roots)
			private(t, o.authority.cache)

			// The next process has the certificate already.
			stop()
			pebble.server.Close()
			addr, stop = start(listen(t))
			logon(t, addr, pebble.roots)
			stop()

			// Another authority's certificate takes its place, as the
			// production service's that of the staging service.
			challenges = listen(t)
			another := startPebble(t, challenges.Addr(), &o.authority)
			addr, stop = start(challenges)
			defer stop()
			logon(t, addr, another.roots)
		})
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// logon tries until there is a certificate.
func logon(t *testing.T, addr string, roots *x509.CertPool) *smtp.Client {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(mailtest.Patience); ; <-tick.C {
		c, err := mailtest.Dial("127.0.0.1", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.StartTLS(&tls.Config{RootCAs: roots, ServerName: domain}); err != nil {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			continue
		}
		if err := c.Auth(smtp.PlainAuth("", "app@example.com", "secret", "localhost")); err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// withoutName connects without server name indication.
func withoutName(t *testing.T, addr string, roots *x509.CertPool) {
	t.Helper()
	c, err := mailtest.Dial("127.0.0.1", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	state, _ := c.TLSConnectionState()
	intermediates := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		intermediates.AddCert(cert)
	}
	if _, err := state.PeerCertificates[0].Verify(
		x509.VerifyOptions{DNSName: domain, Roots: roots, Intermediates: intermediates},
	); err != nil {
		t.Error(err)
	}
}

// private fails if anybody else may read a key.
func private(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		files++
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files: %v", files, err)
	}
}

// TestFaults are those of the flags, found before the queue is opened.
func TestFaults(t *testing.T) {
	for want, o := range map[string]options{
		"-domain": {with: "autocert"},
		"-with":   {with: "certbot", authority: authority{domain: domain}},
		"-directory": {
			with: "autocert", authority: authority{domain: domain, directory: "letsencrypt"},
		},
	} {
		dir := t.TempDir()
		o.users, o.authority.listen = filepath.Join(dir, "users.htpasswd"), "127.0.0.1:0"
		mailtest.Htpasswd(t, o.users, "app@example.com", "secret")
		if err := run(t.Context(), o, filepath.Join(dir, "spool")); err == nil ||
			!strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want a fault of %s", err, want)
		}
		if _, err := os.Stat(filepath.Join(dir, "spool")); err == nil {
			t.Errorf("%s: the queue was opened", want)
		}
	}
}

type pebble struct {
	server *httptest.Server
	roots  *x509.CertPool // of what it issues
}

// startPebble starts an authority that asks at the address for challenges, and
// describes it to a.
func startPebble(t *testing.T, challenges net.Addr, a *authority) pebble {
	t.Helper()
	logger := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(
		logger, store, "", "ecdsa", 0, 1,
		map[string]ca.Profile{"default": {Description: "default"}},
	)
	validation := va.New(logger, port80(t, challenges), 0, false, startDNS(t), store)
	front := wfe.New(
		logger, store, validation, issuer, []string{"pebble.letsencrypt.org"}, false, false, 0, 0,
	)
	p := pebble{server: httptest.NewTLSServer(front.Handler()), roots: x509.NewCertPool()}
	t.Cleanup(p.server.Close)
	p.roots.AddCert(issuer.GetRootCert(0).Cert)
	a.directory, a.roots = p.server.URL+wfe.DirectoryPath, x509.NewCertPool()
	a.roots.AddCert(p.server.Certificate())
	return p
}

// port80 stands for what passes requests for port 80 of the domain on to the
// relay, and returns its own port.
func port80(t *testing.T, to net.Addr) int {
	t.Helper()
	s := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: to.String()})
		r.Out.Host = domain // without a port, as on port 80
	}})
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// startDNS answers that every name is this host.
func startDNS(t *testing.T) string {
	t.Helper()
	l := listen(t)
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(
		w dns.ResponseWriter, query *dns.Msg,
	) {
		reply := new(dns.Msg).SetReply(query)
		if q := query.Question[0]; q.Qtype == dns.TypeA {
			reply.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
				A:   netip.MustParseAddr("127.0.0.1").AsSlice(),
			}}
		}
		_ = w.WriteMsg(reply)
	})}
	go func() { _ = server.ActivateAndServe() }()
	return l.Addr().String()
}
