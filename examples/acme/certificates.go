package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// authority is who issues certificates, and for what.
type authority struct {
	domain    string         // the name that clients connect to
	directory string         // address of the ACME directory
	roots     *x509.CertPool // to trust the directory by; nil for the system's
	// directory that keeps keys and certificates, of each authority by itself
	cache  string
	listen string // where HTTP-01 challenges arrive
}

// certificates returns what gets the certificate of a connection, and what
// answers the authority's challenges on port 80 (RFC 8555 section 8.3). Both
// renew what is about to expire.
func certificates(
	ctx context.Context, with string, a authority,
) (getCertificate, http.Handler, error) {
	switch with {
	case "autocert":
		return byAutocert(a)
	case "certmagic":
		return byCertmagic(ctx, a)
	}
	return nil, nil, fmt.Errorf("-with %q: neither autocert nor certmagic", with)
}

type getCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// byAutocert asks for a certificate when the first client comes, which waits
// for it. It also lets the authority try port 443, first and in vain.
func byAutocert(a authority) (getCertificate, http.Handler, error) {
	directory, err := url.Parse(a.directory)
	if err != nil || directory.Host == "" {
		return nil, nil, fmt.Errorf(
			"-directory %q: not the address of an ACME directory", a.directory,
		)
	}
	// It serves what is in the cache, whoever issued it: another authority
	// needs another.
	cache := filepath.Join(
		a.cache, strings.NewReplacer(":", "_", "/", "_").Replace(directory.Host+directory.Path),
	)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: a.roots}
	manager := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		HostPolicy: autocert.HostWhitelist(a.domain),
		Cache:      autocert.DirCache(cache),
		Client: &acme.Client{
			DirectoryURL: a.directory, HTTPClient: &http.Client{Transport: transport},
		},
	}
	get := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		// Unlike browsers, many mail servers and devices do not tell whom they
		// want to talk to.
		if hello.ServerName == "" {
			named := *hello
			named.ServerName = a.domain
			hello = &named
		}
		return manager.GetCertificate(hello)
	}
	return get, manager.HTTPHandler(http.NotFoundHandler()), nil
}

// byCertmagic asks for the certificate at once, in the background. Until it is
// there, clients cannot have TLS.
func byCertmagic(ctx context.Context, a authority) (getCertificate, http.Handler, error) {
	listen, err := netip.ParseAddrPort(a.listen)
	if err != nil {
		return nil, nil, err
	}
	var cfg *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) {
			return cfg, nil
		},
	})
	context.AfterFunc(ctx, cache.Stop)
	cfg = certmagic.New(cache, certmagic.Config{
		Storage:           &certmagic.FileStorage{Path: a.cache},
		DefaultServerName: a.domain, // see byAutocert
	})
	issuer := certmagic.NewACMEIssuer(cfg, certmagic.ACMEIssuer{
		CA:                      a.directory,
		TrustedRoots:            a.roots,
		Agreed:                  true,
		DisableTLSALPNChallenge: true, // for want of port 443
		// It would listen itself if nobody did.
		ListenHost:  listen.Addr().String(),
		AltHTTPPort: int(listen.Port()),
	})
	cfg.Issuers = []certmagic.Issuer{issuer}
	if err := cfg.ManageAsync(ctx, []string{a.domain}); err != nil {
		return nil, nil, err
	}
	return cfg.GetCertificate, issuer.HTTPChallengeHandler(http.NotFoundHandler()), nil
}
