package intake

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/logkey"
)

// Signer signs what this relay vouches for.
type Signer struct {
	keys *msgauth.Signer // nil without keys

	log *slog.Logger

	mu   sync.Mutex
	told map[string]bool // why mail went unsigned, each once
}

// NewSigner returns what signs by keys; nil for none.
func NewSigner(keys *msgauth.Signer, log *slog.Logger) *Signer {
	return &Signer{keys: keys, log: log}
}

// Why a message goes unsigned though this relay has keys.
const (
	unreadableAuthor = "the From field cannot be read"
	severalDomains   = "the authors are of several domains"
	parentOnly       = "the key of the domain above does not sign for subdomains"
)

// Unsigned tells the log, once for each reason, that a message goes without a
// signature though there are keys.
func (d *Signer) Unsigned(id, domain, reason string, err error) {
	if !d.first(reason) {
		return
	}
	attrs := []any{logkey.QueueID, id, logkey.Reason, reason}
	if domain != "" {
		attrs = append(attrs, logkey.Domain, domain)
	}
	if err != nil {
		attrs = append(attrs, logkey.Err, err)
	}
	d.log.Warn("message not signed by DKIM; further ones for this reason are not logged", attrs...)
}

// first reports whether the log was not told of the reason yet.
func (d *Signer) first(reason string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.told[reason] {
		return false
	}
	if d.told == nil {
		d.told = make(map[string]bool)
	}
	d.told[reason] = true
	return true
}

// authorDomain returns the domain of the authors in a From value if this relay
// signs for it, and an empty string if not. Several authors of one domain count
// as one: receivers check each domain of the field (RFC 7489 section 6.6.1).
func (d *Signer) authorDomain(id, from string) string {
	if d.keys == nil {
		return ""
	}
	list, err := header.Addresses(from)
	if err != nil {
		d.Unsigned(id, "", unreadableAuthor, err)
		return ""
	}
	domain, several, keys := "", false, false
	for _, s := range list {
		a, err := domains.Parse(s)
		if err != nil {
			d.Unsigned(id, "", unreadableAuthor, err)
			return ""
		}
		several = several || domain != "" && domain != a.Domain()
		domain = a.Domain()
		keys = keys || len(d.keys.For(domain)) > 0
	}
	switch {
	case several && keys:
		d.Unsigned(id, "", severalDomains, nil)
	case keys && !several:
		return domain
	case !keys && d.parent(domain):
		d.Unsigned(id, domain, parentOnly, nil)
	}
	return ""
}

// parent reports whether a domain above has keys. [msgauth.Signer.For] has said
// that none of them signs for subdomains.
func (d *Signer) parent(domain string) bool {
	for {
		var ok bool
		if _, domain, ok = strings.Cut(domain, "."); !ok {
			return false
		}
		if len(d.keys.For(domain)) > 0 {
			return true
		}
	}
}

// Begin begins to sign a message with that header section. It returns nil if
// this relay does not sign for its author.
func (d *Signer) Begin(id, from string, section []byte) (*msgauth.Signing, error) {
	domain := d.authorDomain(id, from)
	if domain == "" {
		return nil, nil
	}
	return d.keys.Sign(domain, section)
}

// Signatures counts the fields that a [msgauth.Signing] made.
func Signatures(fields []byte) int { return bytes.Count(fields, []byte("DKIM-Signature:")) }
