package main

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/relay"
)

func (l *loader) certificate(f *file) *tls.Config {
	if f.TLS == nil {
		return nil
	}
	c := new(tls.Config)
	if l.read("tls.certificate", f.TLS.Certificate) == nil ||
		l.secret("tls.key", f.TLS.Key) == nil {
		return c
	}
	pair, err := relay.LoadCertificates(
		l.log,
		relay.CertificateFiles{Certificate: l.path(f.TLS.Certificate), Key: l.path(f.TLS.Key)},
	)
	if err != nil {
		l.add("tls", "%w", err)
		return c
	}
	c.GetCertificate = pair.GetCertificate
	if f.TLS.ClientCas != "" {
		c.ClientCAs = l.roots("tls.client_cas", f.TLS.ClientCas)
	}
	return c
}

// roots reads authorities.
func (l *loader) roots(field, name string) *x509.CertPool {
	pool := x509.NewCertPool()
	if text := l.read(field, name); text != nil && !pool.AppendCertsFromPEM(text) {
		l.add(field, "no certificate in %s", name)
	}
	return pool
}

// pair reads a certificate and its key.
func (l *loader) pair(field, certificate, key string) tls.Certificate {
	text, secret := l.read(field+".certificate", certificate), l.secret(field+".key", key)
	if text == nil || secret == nil {
		return tls.Certificate{}
	}
	pair, err := tls.X509KeyPair(text, secret)
	if err != nil {
		l.add(field, "%w", err)
	}
	return pair
}

// signer reads a private key; it returns nil after a fault.
func (l *loader) signer(field, name string) crypto.Signer {
	text := l.secret(field, name)
	if text == nil {
		return nil
	}
	signer, err := msgauth.ParseKey(text)
	if err != nil {
		l.add(field, "%w", err)
	}
	return signer
}

// read returns the content of a file, or nil after a fault.
func (l *loader) read(field, name string) []byte {
	if name == "" {
		l.require(field, "a file is required")
		return nil
	}
	b, err := os.ReadFile(l.path(name))
	if err == nil {
		b, err = textOf(b)
	}
	if err != nil {
		l.add(field, "%w", err)
	}
	return b
}

// secret is read for a file that nobody else should read.
func (l *loader) secret(field, name string) []byte {
	b := l.read(field, name)
	if b != nil {
		warnOfReaders(l.path(name), field, l.log)
	}
	return b
}

// textOf returns the text of a file without the byte order mark that Windows
// puts in front. UTF-16, which Windows writes too, is refused.
func textOf(data []byte) ([]byte, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) ||
		bytes.IndexByte(data, 0) >= 0 {
		return nil, errors.New("no UTF-8 text, but UTF-16 or binary: save it as UTF-8")
	}
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), nil
}

func (l *loader) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(l.dir, name)
}
