package msgauth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth/msgauth"
)

func TestFor(t *testing.T) {
	k := func(domain, selector string, sub bool) msgauth.Key {
		return msgauth.Key{Domain: domain, Selector: selector, Subdomains: sub, Signer: edKey()}
	}
	s := newSigner(t,
		k("example.com", "a", true), k("example.com", "b", false),
		k("own.example.com", "c", false),
		k("example.net", "d", false),
	)
	for domain, want := range map[string]string{
		"example.com":       "ab",
		"EXAMPLE.com.":      "ab",
		"news.example.com":  "a",
		"a.b.c.example.com": "a",
		"own.example.com":   "c",
		"x.own.example.com": "a",
		"example.net":       "d",
		"news.example.net":  "",
		"badexample.com":    "",
		"com":               "",
		"":                  "",
		".":                 "",
		"[192.0.2.1]":       "",
	} {
		got := ""
		for _, k := range s.For(domain) {
			got += k.Selector
		}
		if got != want {
			t.Errorf("For(%q) = %q, want %q", domain, got, want)
		}
	}
	if _, err := s.Sign("example.org", []byte(head)); !errors.Is(err, msgauth.ErrNoKey) {
		t.Errorf("Sign: %v", err)
	}
	var none msgauth.Signer
	if none.For("example.com") != nil {
		t.Error("the zero Signer has keys")
	}
}

func TestNewSignerReportsEveryFault(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = msgauth.NewSigner(
		msgauth.Key{Domain: "bücher.example", Selector: "a;b", Signer: edKey()},
		msgauth.Key{Domain: "example.com", Selector: "s", Signer: short},
		msgauth.Key{Domain: "EXAMPLE.com", Selector: "S", Signer: ec},
		msgauth.Key{},
	)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"[0].Domain", "[0].Selector",
		"[1].Signer: RSA key has 1024 bits",
		"[2].Signer: public key is *ecdsa.PublicKey", "[2].Selector: \"S\" is taken by [1]",
		"[3].Domain", "[3].Selector", "[3].Signer: missing",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if name, value := (msgauth.Key{Domain: "example.com"}).TXT(); name != "" || value != "" {
		t.Errorf("TXT of a bad key: %q %q", name, value)
	}
}

func pemOf(t *testing.T, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestLoadKey(t *testing.T) {
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return pemOf(t, "PRIVATE KEY", der, err)
	}
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for _, c := range []struct {
		name string
		text []byte
		want string // part of the error; empty for none
	}{
		{
			"RSA PKCS #1", pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey()), nil),
			"",
		},
		{"RSA PKCS #8", pkcs8(rsaKey()), ""},
		{"Ed25519", pkcs8(edKey()), ""},
		{"ECDSA", pkcs8(ec), "want RSA or Ed25519"},
		{"empty", nil, "no PEM block"},
		{"certificate", pemOf(t, "CERTIFICATE", []byte("x"), nil), `PEM block is a "CERTIFICATE"`},
		{"encrypted", pemOf(t, "ENCRYPTED PRIVATE KEY", []byte("x"), nil), "encrypted"},
		{"torn", pemOf(t, "PRIVATE KEY", []byte("x"), nil), "private key: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "key.pem")
			if err := os.WriteFile(name, c.text, 0o600); err != nil {
				t.Fatal(err)
			}
			key, err := msgauth.LoadKey(name)
			if c.want == "" {
				if err != nil || key == nil {
					t.Fatalf("%v %v", key, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) ||
				!strings.Contains(err.Error(), name) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
	if _, err := msgauth.LoadKey(
		filepath.Join(t.TempDir(), "none"),
	); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// faulty is a key whose Sign panics, as one behind a broken network client.
type faulty struct{ crypto.Signer }

func (faulty) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { panic("boom") }

// A panic of a key is an error of the message, and does not end the process.
func TestKeyPanics(t *testing.T) {
	signer := newSigner(
		t, msgauth.Key{Domain: "example.com", Selector: "e1", Signer: faulty{edKey()}},
	)
	s, err := signer.Sign("example.com", []byte(head))
	if err == nil {
		_, err = io.WriteString(s, text)
		err = errors.Join(err, s.Close())
	}
	for _, word := range []string{"boom", "key_test.go"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("no %s in the error %v", word, err)
		}
	}
}
