// Package mailtest helps to test a relay from outside: a next hop that keeps
// what it is given, and a client that sends from an address of choice.
package mailtest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/postern-mail/postern/relay"
)

// Patience bounds every wait for something to happen.
const Patience = time.Minute

// Message is what a Sink was given.
type Message struct {
	From    string
	To      []string
	Content string
}

// Sink is an SMTP server that takes everything, but refuses recipients whose
// address contains "refuse" for good and those with "later" for now.
type Sink struct {
	Addr     string
	Messages chan Message
}

// NewSink starts a sink that ends with the test.
func NewSink(t testing.TB) *Sink {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &Sink{Addr: l.Addr().String(), Messages: make(chan Message, 1000)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *Sink) serve(c net.Conn) {
	defer c.Close()
	p := textproto.NewConn(c)
	reply := func(line string) { _ = p.PrintfLine("%s", line) }
	reply("220 sink.example ESMTP")
	var m Message
	for {
		line, err := p.ReadLine()
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			reply("250-sink.example")
			reply("250-PIPELINING")
			reply("250-ENHANCEDSTATUSCODES")
			reply("250 8BITMIME")
		case "MAIL":
			m = Message{From: path(arg)}
			reply("250 2.1.0 ok")
		case "RCPT":
			switch {
			case strings.Contains(arg, "refuse"):
				reply("550 5.2.1 mailbox disabled")
			case strings.Contains(arg, "later"):
				reply("451 4.2.2 mailbox full")
			default:
				m.To = append(m.To, path(arg))
				reply("250 2.1.5 ok")
			}
		case "DATA":
			if m.To == nil {
				reply("554 5.5.1 no recipients")
				continue
			}
			reply("354 go on")
			content, err := io.ReadAll(p.DotReader())
			if err != nil {
				return
			}
			m.Content = string(content)
			s.Messages <- m
			reply("250 2.0.0 taken")
		case "QUIT":
			reply("221 2.0.0 bye")
			return
		default:
			reply("250 2.0.0 ok")
		}
	}
}

func path(arg string) string {
	_, arg, _ = strings.Cut(arg, "<")
	arg, _, _ = strings.Cut(arg, ">")
	return arg
}

// Next returns the next message that arrives.
func (s *Sink) Next(t testing.TB) Message {
	t.Helper()
	select {
	case m := <-s.Messages:
		return m
	case <-time.After(Patience):
		t.Fatal("no message has arrived")
	}
	return Message{}
}

// Run runs a relay for the length of the test.
func Run(t testing.TB, r *relay.Relay) {
	t.Helper()
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// Dial connects to a server from a local address, "127.0.0.1" for one.
func Dial(from, addr string) (*smtp.Client, error) { return DialFor(from, addr, Patience) }

// DialFor is Dial with another bound for the whole session.
func DialFor(from, addr string, d time.Duration) (*smtp.Client, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: d}
	conn, err := dialer.Dial("tcp4", addr)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(d))
	// The name that certificates are checked for; authentication needs it to be
	// local or in TLS.
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		conn.Close()
	}
	return c, err
}

// Send hands one message over. The error of a refusal is a *textproto.Error;
// the session can go on after it.
func Send(c *smtp.Client, from, to, subject string) (err error) {
	defer func() {
		if err != nil {
			_ = c.Reset()
		}
	}()
	if err := c.Mail(from); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString(
		"From: <" + from + ">\r\nTo: <" + to + ">\r\nSubject: " + subject + "\r\n\r\nHello\r\n",
	)
	if _, err := w.Write(b.Bytes()); err != nil {
		return err
	}
	return w.Close()
}

// Certificate writes a certificate for localhost, its key, and ca.pem, the
// certificate of who issued it, to a directory. It returns the files and the
// configuration of a client that trusts the issuer.
func Certificate(t testing.TB, dir string) (cert, key string, client *tls.Config) {
	t.Helper()
	serial := big.NewInt(time.Now().UnixNano())
	ca := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Test CA " + serial.String()},
		NotAfter: time.Now().Add(time.Hour),
		IsCA:     true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey := newKey(t)
	caPEM := issue(t, ca, ca, caKey.Public(), caKey)
	leafKey := newKey(t)
	certPEM := issue(t, &x509.Certificate{
		SerialNumber: new(big.Int).Add(serial, big.NewInt(1)), NotAfter: time.Now().Add(time.Hour),
		DNSNames:    []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, leafKey.Public(), caKey)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	Write(t, filepath.Join(dir, "ca.pem"), string(caPEM))
	Write(t, cert, string(certPEM))
	writeKey(t, key, leafKey)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(caPEM)
	return cert, key, &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// ClientCertificates writes for each name the certificate of a client,
// NAME.pem, and its key, NAME.key, to a directory. It returns who issued them.
// Each call makes another authority of the same name.
func ClientCertificates(t testing.TB, dir string, names ...string) *x509.CertPool {
	t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA for clients"},
		NotAfter: time.Now().Add(time.Hour),
		IsCA:     true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey := newKey(t)
	for i, name := range names {
		key := newKey(t)
		certPEM := issue(t, &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: name},
			NotAfter:    time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, ca, key.Public(), caKey)
		Write(t, filepath.Join(dir, name+".pem"), string(certPEM))
		writeKey(t, filepath.Join(dir, name+".key"), key)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(issue(t, ca, ca, caKey.Public(), caKey))
	return pool
}

func writeKey(t testing.TB, name string, key *ecdsa.PrivateKey) {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	Write(t, name, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func issue(
	t testing.TB, template, issuer *x509.Certificate, public crypto.PublicKey, key crypto.Signer,
) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Write writes a file.
func Write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Htpasswd writes a file of one user.
func Htpasswd(t testing.TB, name, user, password string) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	Write(t, name, user+":"+string(hash)+"\n")
}

// WantReply fails unless err is a refusal that begins with the code and text,
// "550 5.1.1" for one.
func WantReply(t testing.TB, err error, want string) {
	t.Helper()
	var reply *textproto.Error
	if !errors.As(err, &reply) || !strings.HasPrefix(strconv.Itoa(reply.Code)+" "+reply.Msg, want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Programs marks a test that drives other programs. The daily make check, which
// passes -short, leaves it out; make test runs it and fails where one is
// missing.
func Programs(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("drives other programs, which -short leaves out")
	}
}
