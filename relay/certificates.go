package relay

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/relay/internal/logkey"
)

// CertificateFiles names a certificate and its key, both in PEM.
type CertificateFiles struct {
	Certificate string // the certificate, then those of the intermediate authorities
	Key         string
}

// Certificates serves certificates from files, and reads them again when they
// have changed, so that a renewed certificate needs no restart:
//
//	certificates, err := relay.LoadCertificates(logger, relay.CertificateFiles{
//		Certificate: "tls.crt", Key: "tls.key",
//	})
//	cfg.TLS = &tls.Config{GetCertificate: certificates.GetCertificate}
//
// The files are looked at during a handshake, at most once a second, and by one
// connection while others go on. A pair that cannot be read, or whose halves do
// not belong together, as while they are being replaced, is logged and tried
// again, and the one before stays in use.
//
// It is safe for concurrent use.
type Certificates struct {
	log   *slog.Logger
	began time.Time
	pairs []certificatePair

	busy    sync.Mutex
	checked atomic.Int64 // nanoseconds after began
}

type certificatePair struct {
	files   CertificateFiles
	current atomic.Pointer[tls.Certificate]
	// Those that were read last; nil if that failed.
	certificate, key os.FileInfo
	fault            string // logged last
}

// LoadCertificates reads certificates. A client gets the first that is good for
// the name it asks for and for the algorithms it knows, or else the first of
// all; one that has expired or is not valid yet only if there is no other. The
// error holds each pair that could not be read, joined with [errors.Join], each
// a *[postern.FieldError]. A nil logger discards.
func LoadCertificates(logger *slog.Logger, files ...CertificateFiles) (*Certificates, error) {
	if len(files) == 0 {
		return nil, errors.New("relay: no certificate files")
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	c := &Certificates{log: logger, began: time.Now(), pairs: make([]certificatePair, len(files))}
	var errs []error
	for i := range c.pairs {
		p := &c.pairs[i]
		p.files = files[i]
		if _, err := p.load(); err != nil {
			errs = append(errs, &postern.FieldError{
				Field: fmt.Sprintf("files[%d]", i),
				Err:   fmt.Errorf("certificate %s: %w", p.files.Certificate, err),
			})
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}

// load reads the pair if it has changed.
func (p *certificatePair) load() (changed bool, err error) {
	certificate, err := os.Stat(p.files.Certificate)
	if err != nil {
		return false, err
	}
	key, err := os.Stat(p.files.Key)
	if err != nil || sameFile(p.certificate, certificate) && sameFile(p.key, key) {
		return false, err
	}
	p.certificate, p.key = nil, nil
	pair, err := p.read()
	if err == nil && pair.Leaf == nil { // GODEBUG=x509keypairleaf=0
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	if err != nil {
		return false, err
	}
	// Looked at before it was read: what has changed meanwhile is read again.
	p.certificate, p.key = certificate, key
	p.current.Store(&pair)
	return true, nil
}

// read reads both files.
func (p *certificatePair) read() (tls.Certificate, error) {
	certificate, err := readPEM(p.files.Certificate)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readPEM(p.files.Key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certificate, key)
}

// readPEM reads a file of text without the byte order mark that Windows puts in
// front. UTF-16 is refused.
func readPEM(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if start := text[:min(len(text), 2)]; bytes.Equal(start, []byte("\xff\xfe")) ||
		bytes.Equal(start, []byte("\xfe\xff")) || bytes.IndexByte(start, 0) >= 0 {
		return nil, fmt.Errorf("%s is no PEM text, but UTF-16 or binary: save it as UTF-8", name)
	}
	return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), nil
}

func sameFile(a, b os.FileInfo) bool {
	return a != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// refresh reads what has changed, unless that was done within the last second.
func (c *Certificates) refresh() {
	now := int64(time.Since(c.began))
	if now-c.checked.Load() < int64(time.Second) || !c.busy.TryLock() {
		return
	}
	defer c.busy.Unlock()
	c.checked.Store(now)
	for i := range c.pairs {
		p := &c.pairs[i]
		changed, err := p.load()
		fault := ""
		if err != nil {
			fault = err.Error()
		}
		switch {
		case fault != "" && fault != p.fault:
			c.log.Error("certificate not read again, the one before stays in use",
				logkey.File, p.files.Certificate, logkey.Err, err)
		case changed:
			c.log.Info(
				"certificate read again", logkey.File, p.files.Certificate, logkey.Expires,
				p.current.Load().Leaf.NotAfter,
			)
		}
		p.fault = fault
	}
}

// GetCertificate is for the field of that name in [tls.Config].
func (c *Certificates) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(c.pairs) == 0 || hello == nil {
		return nil, errors.New("relay: no certificate, or nobody who asks for one")
	}
	c.refresh()
	now := time.Now()
	var best *tls.Certificate
	most := -1
	for i := range c.pairs {
		served := c.pairs[i].current.Load()
		fit := 0
		if hello.SupportsCertificate(served) == nil {
			fit = 2
		}
		if !now.Before(served.Leaf.NotBefore) && !now.After(served.Leaf.NotAfter) {
			fit++
		}
		if fit > most {
			best, most = served, fit
		}
	}
	return best, nil
}
