package outbound

import (
	"context"
	"strings"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
)

// Site returns what is known of the mail exchangers of a domain without asking
// the DNS: the name of the set and its members, in the order of their names.
// Domains with the same set are one site. The name is empty where nothing is
// known, and there are no members where they are too many. It costs a look into
// memory.
func (c *Client) Site(domain string) (name string, exchangers []string) {
	of, _ := c.sites.get(domain)
	if of == nil {
		return "", nil
	}
	return of.name, of.hosts
}

// locate finds the site of a next hop, whose connections its domain shares. It
// asks the DNS where that was not done of late.
func (c *Client) locate(ctx context.Context, h *hop) *delivery.Error {
	if h.smart() || strings.HasPrefix(h.domain, "[") {
		return nil
	}
	known, age := c.sites.get(h.domain)
	if known == nil || age > siteFor {
		ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.ReadyTimeout, errNotReady)
		defer cancel()
		began := time.Now()
		hosts, of, failed := c.exchangers(ctx, h.domain)
		switch h.sought = time.Since(began); {
		case failed == nil:
			h.found, known = hosts, of
		case failed.Permanent || known == nil:
			return failed
		}
	}
	h.share(known)
	return nil
}

// share makes the connections of a next hop those of its site. Where the domain
// is what the certificate has to have they stay the domain's own.
func (h *hop) share(of *site) {
	if h.TLS != connector.TLSDomainValidation || h.TLSDomain != "" {
		h.key.domain = of.order
	}
}

// reconsider sees that a connection which was asked for on behalf of one site,
// while the domain belongs to another by now, is for one message only.
func (h *hop) reconsider(of *site) {
	shared := h.key
	h.share(of)
	h.stray = h.key != shared
	h.key = shared
}
