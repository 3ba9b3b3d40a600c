package relay_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/internal/wiretest"
)

// talk is an SMTP client that says what it is told to.
type talk struct {
	*wiretest.Side
	t *testing.T
	// refusals are the replies of 400 and above, in order.
	refusals []string
}

// dial connects to a connector, reads the banner and says EHLO.
func (w *world) dial(t *testing.T, name string) *talk {
	t.Helper()
	c := w.connect(t, name)
	c.Expect("220 ")
	c.Say("EHLO client.example.test")
	c.Expect("250 ")
	return c
}

func (w *world) connect(t *testing.T, name string) *talk {
	t.Helper()
	conn, err := net.Dial("tcp", w.addr(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	c := &talk{Side: wiretest.Join(t, conn, wiretest.Client), t: t}
	t.Cleanup(c.Close)
	c.TLS, c.Loose = &tls.Config{InsecureSkipVerify: true}, true
	c.Replied = func(line string) {
		if line[0] == '4' || line[0] == '5' {
			c.refusals = append(c.refusals, line)
		}
	}
	return c
}

// reply reads one reply, its lines joined.
func (c *talk) reply() string {
	c.t.Helper()
	lines, err := c.Reply()
	if err != nil {
		c.t.Fatalf("after %q: %v", lines, err)
	}
	return strings.Join(lines, "\n")
}

// startTLS is the part of a dialogue that goes over to TLS.
const startTLS = "C: STARTTLS\nS: 220\ntls\nC: EHLO client.example.test\nS: 250\n"

// transact sends a message and returns the reply to its content.
func (c *talk) transact(content, from string, to ...string) string {
	c.t.Helper()
	c.Play("C: MAIL FROM:<" + from + ">\nS: 250 ")
	for _, r := range to {
		c.Play("C: RCPT TO:<" + r + ">\nS: 250 ")
	}
	c.Play("C: DATA\nS: 354 ")
	c.Send(content + ".\r\n")
	return c.reply()
}

// certificate makes a server's TLS configuration.
func certificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"relay.example.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
}
