package connector_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// wire is a listener in memory, whose connections have whatever addresses the
// test wants.
type wire struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newWire() *wire { return &wire{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

func (w *wire) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects to local from remote. It returns nil when the listener is
// closed.
func (w *wire) dial(local, remote netip.AddrPort) *peer {
	theirs, ours := net.Pipe()
	select {
	case w.conns <- wired{theirs, local, remote}:
	case <-w.closed:
		return nil
	}
	return &peer{conn: ours, r: bufio.NewReader(ours)}
}

type wired struct {
	net.Conn
	local, remote netip.AddrPort
}

func (c wired) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c wired) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// peer is the client's end.
type peer struct {
	conn net.Conn
	r    *bufio.Reader
}

// say sends a line and returns the last line of the reply; empty when the
// connection has ended.
func (p *peer) say(line string) string {
	if _, err := io.WriteString(p.conn, line+"\r\n"); err != nil {
		return ""
	}
	return p.reply()
}

func (p *peer) reply() string {
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			return ""
		}
		if line = strings.TrimRight(line, "\r\n"); len(line) < 4 || line[3] != '-' {
			return line
		}
	}
}

// content sends what follows DATA. The reply may come before its end.
func (p *peer) content(text string) string {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(p.conn, text+"\r\n.\r\n")
	}()
	reply := p.reply()
	if strings.HasPrefix(reply, "421") {
		p.conn.Close()
	}
	<-sent
	return reply
}

// startTLS begins TLS, with a certificate or without.
func (p *peer) startTLS(cert *tls.Certificate) error {
	cfg := &tls.Config{InsecureSkipVerify: true}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	c := tls.Client(p.conn, cfg)
	if err := c.Handshake(); err != nil {
		return err
	}
	p.conn, p.r = c, bufio.NewReader(c)
	return nil
}

// authority signs the certificates of a test.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t}
	a.key, a.cert = a.sign(
		&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign},
	)
	return a
}

func (a *authority) sign(c *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(1)
	c.NotBefore = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC) // a bubble's clock begins in 2000
	c.NotAfter = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert
}

// certificate makes one for a name. "*" is not special.
func (a *authority) certificate(name string) *tls.Certificate {
	key, cert := a.sign(&x509.Certificate{
		DNSNames:    []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	})
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// server is a relay's configuration, which believes the authority's
// certificates.
func (a *authority) server() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{
		Certificates: []tls.Certificate{*a.certificate("relay.example.test")},
		ClientCAs:    pool, ClientAuth: tls.VerifyClientCertIfGiven,
	}
}
