package msgauth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/postern-mail/postern"
)

const (
	// RFC 8301 section 3.2: signers should use 2048 bits at least, verifiers
	// know up to 4096.
	minRSA = 2048
	maxRSA = 4096
)

// Key is a private key that signs for a domain.
type Key struct {
	// Domain is the domain the key speaks for (d=), in A-labels.
	Domain string
	// Selector names the key among those of the domain (s=).
	Selector string
	// Subdomains lets the key sign for domains below Domain too. Defaults to
	// false.
	Subdomains bool
	// Signer is an RSA key of 2048 to 4096 bits or an Ed25519 key. It is called
	// by many goroutines at once. One that asks another host needs a time limit
	// of its own: the message waits for it.
	Signer crypto.Signer
}

// ParseKey reads an unencrypted private key from PEM: PKCS #8 (PRIVATE KEY), or
// PKCS #1 (RSA PRIVATE KEY). The key is RSA or Ed25519.
func ParseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("msgauth: no PEM block")
	}
	var key any
	var err error
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return nil, errors.New("msgauth: private key is encrypted")
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf(
			"msgauth: PEM block is a %q, want a PRIVATE KEY or RSA PRIVATE KEY", block.Type,
		)
	}
	if err != nil {
		return nil, fmt.Errorf("msgauth: private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("msgauth: %T cannot sign", key)
	}
	if err := checkPublic(signer.Public()); err != nil {
		return nil, fmt.Errorf("msgauth: %w", err)
	}
	return signer, nil
}

// LoadKey is [ParseKey] of a file.
func LoadKey(name string) (crypto.Signer, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("msgauth: %w", err)
	}
	key, err := ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return key, nil
}

// TXT returns the DNS record to publish: the name without a trailing dot, and
// the value. A value over 255 octets must be split into strings in a zone file.
// Both are empty for a Key that [NewSigner] refuses.
func (k Key) TXT() (name, value string) {
	if len(k.faults()) > 0 {
		return "", ""
	}
	var kind string
	var public []byte
	switch p := k.Signer.Public().(type) {
	case *rsa.PublicKey:
		kind = "rsa"
		public, _ = x509.MarshalPKIXPublicKey(p) // cannot fail for an RSA key
	case ed25519.PublicKey:
		kind, public = "ed25519", p // RFC 8463 section 4.2
	}
	return k.Selector + "._domainkey." + canonical(k.Domain),
		"v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(public)
}

// faults returns what is wrong with the key.
func (k Key) faults() []*postern.FieldError {
	var faults []*postern.FieldError
	if !isName(canonical(k.Domain)) {
		faults = append(
			faults,
			&postern.FieldError{
				Field: "Domain", Err: fmt.Errorf("%q is not a domain name in A-labels", k.Domain),
			},
		)
	}
	if !isName(k.Selector) {
		faults = append(
			faults,
			&postern.FieldError{
				Field: "Selector",
				Err:   fmt.Errorf("%q is not made of letters, digits and hyphens", k.Selector),
			},
		)
	}
	if k.Signer == nil {
		return append(faults, &postern.FieldError{Field: "Signer", Err: errors.New("missing")})
	}
	if err := checkPublic(k.Signer.Public()); err != nil {
		faults = append(faults, &postern.FieldError{Field: "Signer", Err: err})
	}
	return faults
}

func checkPublic(public crypto.PublicKey) error {
	switch p := public.(type) {
	case *rsa.PublicKey:
		if n := p.N.BitLen(); n < minRSA || n > maxRSA {
			return fmt.Errorf("RSA key has %d bits, want %d to %d", n, minRSA, maxRSA)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("public key is %T, want RSA or Ed25519", public)
	}
	return nil
}

// canonical returns a domain as keys are looked up by.
func canonical(domain string) string {
	return strings.ToLower(strings.TrimSuffix(domain, "."))
}

// isName reports whether s is made of labels of letters, digits, hyphens and
// underscores.
func isName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; c != '-' && c != '_' && (c < '0' || c > '9') &&
				(c|0x20 < 'a' || c|0x20 > 'z') {
				return false
			}
		}
	}
	return true
}
