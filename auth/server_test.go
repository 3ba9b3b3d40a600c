package auth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
)

// connect returns both ends' view of a TLS connection; the client shows a
// certificate of "anna".
func connect(t testing.TB, version uint16) (client tls.ConnectionState, server auth.Conn) {
	t.Helper()
	certificate := func(name string) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
			DNSNames:    []string{"mail.example.com"},
			NotAfter:    time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
			IsCA:        true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	}
	ours, theirs := certificate("server"), certificate("anna")
	clients, servers := x509.NewCertPool(), x509.NewCertPool()
	clients.AddCert(theirs.Leaf)
	servers.AddCert(ours.Leaf)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(a, &tls.Config{
		Certificates: []tls.Certificate{ours}, ClientCAs: clients,
		ClientAuth: tls.VerifyClientCertIfGiven, MaxVersion: version,
	})
	c := tls.Client(
		b,
		&tls.Config{
			RootCAs: servers, ServerName: "mail.example.com",
			Certificates: []tls.Certificate{theirs},
		},
	)
	done := make(chan error, 1)
	go func() {
		err := c.Handshake()
		if err == nil {
			go c.Read(make([]byte, 1)) // session tickets
		}
		done <- err
	}()
	if err := errors.Join(s.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	state := s.ConnectionState()
	return c.ConnectionState(), auth.Conn{
		TLS: &state, Certificate: ours.Leaf, Remote: netip.MustParseAddrPort("192.0.2.1:4711"),
	}
}

// people are users who all have the password or token "secret", for every
// mechanism.
func people(t testing.TB, names ...string) *auth.Server {
	t.Helper()
	keys, err := auth.SCRAMKeys("secret", []byte("0123456789abcdef"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	passwords := map[string]string{}
	for _, name := range names {
		passwords[name] = "secret"
	}
	return &auth.Server{
		Passwords: auth.Static(passwords),
		SCRAM: auth.SCRAMStoreFunc(func(
			_ context.Context, c auth.Proof,
		) (string, *auth.Identity, error) {
			if !slices.Contains(names, c.Username) {
				return "", nil, auth.ErrBadCredentials
			}
			return keys, &auth.Identity{User: c.Username}, nil
		}),
		SCRAMIterations: 4096,
		Tokens: auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			if c.Token != "secret" || c.Password != "" ||
				c.Username != "" && c.Username != names[0] {
				return nil, auth.ErrBadCredentials
			}
			return &auth.Identity{User: names[0]}, nil
		}),
		Certificates: auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			user := c.TLS.VerifiedChains[0][0].Subject.CommonName
			if c.Username != "" && c.Username != user {
				return nil, auth.ErrBadCredentials
			}
			return &auth.Identity{User: user}, nil
		}),
	}
}

func TestMechanisms(t *testing.T) {
	t.Parallel()
	_, conn := connect(t, tls.VersionTLS13)
	all := people(t, "anna")
	noCertificate := *conn.TLS
	noCertificate.VerifiedChains = nil
	for _, tt := range []struct {
		name   string
		server *auth.Server
		conn   auth.Conn
		want   string
	}{
		{
			"all", all, conn,
			"EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN",
		},
		{"no TLS", all, auth.Conn{}, "SCRAM-SHA-256"},
		{
			"no TLS, insecure", all, auth.Conn{InsecurePlaintext: true},
			"SCRAM-SHA-256 PLAIN LOGIN",
		},
		{
			"no client certificate", all, auth.Conn{TLS: &noCertificate},
			"SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN",
		},
		{
			"allowed", all,
			auth.Conn{TLS: conn.TLS, Allowed: []auth.Mechanism{auth.Login, auth.External, "X"}},
			"EXTERNAL LOGIN",
		},
		{"none allowed", all, auth.Conn{TLS: conn.TLS, Allowed: []auth.Mechanism{}}, ""},
		{"passwords", &auth.Server{Passwords: all.Passwords}, conn, "PLAIN LOGIN"},
		{"tokens", &auth.Server{Tokens: all.Tokens}, conn, "OAUTHBEARER XOAUTH2"},
		{"none", &auth.Server{}, conn, ""},
	} {
		got := tt.server.Mechanisms(tt.conn)
		var words []string
		for _, m := range got {
			words = append(words, string(m))
		}
		if list := strings.Join(words, " "); list != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, list, tt.want)
		}
		for _, m := range []auth.Mechanism{
			auth.External, auth.ScramSHA256Plus, auth.ScramSHA256, auth.OAuthBearer, auth.XOAuth2,
			auth.Plain, auth.Login, "CRAM-MD5", "",
		} {
			x, err := tt.server.Begin(m, tt.conn)
			if slices.Contains(got, m) != (err == nil) ||
				(x == nil) != errors.Is(err, auth.ErrMechanism) {
				t.Errorf("%s: beginning %s: %v", tt.name, m, err)
			}
		}
	}
}

// Guesses are slowed down whatever the mechanism.
func TestServerThrottle(t *testing.T) {
	t.Parallel()
	_, conn := connect(t, tls.VersionTLS13)
	for _, m := range []auth.Mechanism{
		auth.Plain, auth.Login, auth.OAuthBearer, auth.XOAuth2, auth.ScramSHA256,
		auth.ScramSHA256Plus, auth.External,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := people(t, "anna")
			s.Throttle = auth.NewThrottle(nil)
			var last error
			for i := range 50 {
				x, err := s.Begin(m, conn)
				if err != nil {
					t.Fatal(err)
				}
				last = guess(t, x, m, i)
				if last == nil {
					t.Fatalf("%s: guessed", m)
				}
			}
			if _, ok := errors.AsType[*auth.ThrottledError](last); !ok {
				t.Errorf("%s: %v", m, last)
			}
		})
	}
}

// guess makes one attempt that fails.
func guess(t *testing.T, x *auth.Exchange, m auth.Mechanism, i int) error {
	t.Helper()
	ask := func(message string) (string, error) {
		challenge, done, err := x.Next(t.Context(), []byte(message))
		if done {
			t.Fatalf("%s: %q did it", m, message)
		}
		return string(challenge), err
	}
	switch m {
	case auth.Plain:
		_, err := ask(fmt.Sprint("\x00anna\x00guess", i))
		return err
	case auth.Login:
		ask("anna")
		_, err := ask(fmt.Sprint("guess", i))
		return err
	case auth.External:
		_, err := ask("root")
		return err
	case auth.OAuthBearer, auth.XOAuth2:
		message := fmt.Sprintf("user=anna\x01auth=Bearer guess%d\x01\x01", i)
		if m == auth.OAuthBearer {
			message = fmt.Sprintf("n,,\x01auth=Bearer guess%d\x01\x01", i)
		}
		if _, err := ask(message); err != nil {
			return err
		}
		_, err := ask("\x01")
		return err
	}
	header, bound := "n,,", ""
	if m == auth.ScramSHA256Plus {
		header, bound = "p=tls-exporter,,", "wrong"
	}
	challenge, err := ask(header + "n=anna,r=x")
	if err != nil {
		return err
	}
	nonce, _, _ := strings.Cut(challenge, ",")
	b64 := base64.StdEncoding.EncodeToString
	_, err = ask("c=" + b64([]byte(header+bound)) + "," + nonce + ",p=" + b64(make([]byte, 32)))
	return err
}
