package relay_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net/netip"
	"net/smtp"
	"os"
	"path/filepath"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// writePair writes a certificate for a name, which vouches for itself, and its
// key.
func writePair(dir, name string) relay.CertificateFiles {
	files := relay.CertificateFiles{
		Certificate: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key"),
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter:    time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err1 := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	pkcs8, err2 := x509.MarshalPKCS8PrivateKey(key)
	for file, block := range map[string]*pem.Block{
		files.Certificate: {Type: "CERTIFICATE", Bytes: der},
		files.Key:         {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil || err1 != nil ||
			err2 != nil {
			log.Fatal(err, err1, err2)
		}
	}
	return files
}

// byCertificate is EXTERNAL: the client's certificate says who it is.
type byCertificate struct{}

func (byCertificate) Start(*smtp.ServerInfo) (string, []byte, error) { return "EXTERNAL", nil, nil }

func (byCertificate) Next(_ []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	return []byte{}, nil
}

// A relay that goes by several names has a certificate for each. A client gets
// that of the name it asks for (server name indication), or the first. Each is
// read again when its files have changed.
func ExampleLoadCertificates_severalNames() {
	dir, err := os.MkdirTemp("", "certificates")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	// In real life: relay.CertificateFiles{Certificate:
	// "relay.example.com.crt", Key: "relay.example.com.key"}, and so on.
	certificates, err := relay.LoadCertificates(
		nil, writePair(dir, "relay.example.com"), writePair(dir, "smtp.example.net"),
	)
	if err != nil {
		log.Fatal(err)
	}
	users := connector.Submission("users")
	// in real life port 465
	users.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	users.ImplicitTLS = true
	r, err := relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{users},
		TLS:        &tls.Config{GetCertificate: certificates.GetCertificate},
		Verifier:   auth.Static(map[string]string{"anna@example.com": "correct horse"}),
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	go r.Run(context.Background())

	for _, name := range []string{"relay.example.com", "smtp.example.net", ""} {
		c, err := tls.Dial("tcp", r.Addrs("users")[0].String(), &tls.Config{
			// nobody vouches for the certificates of an example
			ServerName: name, InsecureSkipVerify: true,
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf(
			"asked for %q, got that of %s\n", name,
			c.ConnectionState().PeerCertificates[0].DNSNames[0],
		)
		c.Close()
	}
	// Output:
	// asked for "relay.example.com", got that of relay.example.com
	// asked for "smtp.example.net", got that of smtp.example.net
	// asked for "", got that of relay.example.com
}

// Machines log on by certificate (EXTERNAL) and need no password. ClientCAs
// vouches for them: here each for itself, in real life an authority of your
// own.
func ExampleConfig_clientCertificates() {
	dir, err := os.MkdirTemp("", "certificates")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	certificates, err := relay.LoadCertificates(nil, writePair(dir, "relay.example.com"))
	if err != nil {
		log.Fatal(err)
	}
	shop := writePair(dir, "shop.example.com")
	authority, err := os.ReadFile(shop.Certificate)
	if err != nil {
		log.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(authority)

	users := connector.Submission("machines")
	// in real life port 465
	users.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	users.ImplicitTLS = true
	r, err := relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{users},
		TLS:        &tls.Config{GetCertificate: certificates.GetCertificate, ClientCAs: clients},
		Auth: &auth.Server{
			Certificates: auth.VerifierFunc(func(
				_ context.Context, c auth.Proof,
			) (*auth.Identity, error) {
				name := c.TLS.VerifiedChains[0][0].Subject.CommonName
				if name != "shop.example.com" || c.Username != "" && c.Username != name {
					return nil, auth.ErrBadCredentials
				}
				return &auth.Identity{User: name, Senders: []string{"orders@example.com"}}, nil
			}),
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	go r.Run(context.Background())

	own, err := tls.LoadX509KeyPair(shop.Certificate, shop.Key)
	if err != nil {
		log.Fatal(err)
	}
	conn, err := tls.Dial("tcp", r.Addrs("machines")[0].String(), &tls.Config{
		// nobody vouches for the relay of an example
		Certificates: []tls.Certificate{own}, InsecureSkipVerify: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	c, err := smtp.NewClient(conn, "relay.example.com")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, mechanisms := c.Extension("AUTH")
	fmt.Println("offered:", mechanisms)
	fmt.Println("logged on:", c.Auth(byCertificate{}))
	fmt.Println("its own sender:", c.Mail("orders@example.com"))
	// Output:
	// offered: EXTERNAL
	// logged on: <nil>
	// its own sender: <nil>
}
