package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// identity is a certificate for everybody, and a key of DKIM: files in PEM.
type identity struct{ certificate, key, dkim string }

func newIdentity(dir string) (id identity, err error) {
	id = identity{
		filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"),
		filepath.Join(dir, "dkim.pem"),
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return id, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench.example.test"},
		DNSNames:  []string{"bench.example.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return id, err
	}
	if err := writePEM(id.certificate, "CERTIFICATE", der); err != nil {
		return id, err
	}
	if err := writeKey(id.key, key); err != nil {
		return id, err
	}
	signing, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return id, err
	}
	return id, writeKey(id.dkim, signing)
}

func writeKey(name string, key any) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(name, "PRIVATE KEY", der)
}

func writePEM(name, kind string, der []byte) error {
	return os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// serverTLS is how the next hop does TLS.
func (id identity) serverTLS() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(id.certificate, id.key)
	return &tls.Config{Certificates: []tls.Certificate{pair}}, err
}
