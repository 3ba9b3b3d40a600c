package outbound

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"

	"github.com/postern-mail/postern/relay/delivery"
)

// Bounds of what is tried for a domain, whatever its DNS says.
const (
	maxMXHosts     = 5
	maxMXAddresses = 10
)

var (
	errNullMX = errors.New("domain does not accept mail (null MX)")
	errLoop   = errors.New("mail loops back to this host")
)

// exchangers looks the mail exchangers of a domain up (RFC 5321 section 5.1):
// those to be tried, in the order of trying them, and the site that they are. A
// resolver may leave out records that it cannot read and tell so by an error
// beside the list: those it has are tried, but such a list proves nothing.
func (c *Client) exchangers(
	ctx context.Context, domain string,
) (hosts []string, of *site, no *delivery.Error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	answer, err := c.cfg.Resolver.LookupMX(ctx, domain)
	list, failed := usable(answer.Records, c.isThisHost)
	switch {
	case len(answer.Records) == 0 && err != nil && !delivery.IsNotFound(err):
		return nil, nil, temporary(delivery.OpDNS, "4.4.3", err)
	case len(answer.Records) == 0:
		list = []*net.MX{{Host: domain}} // implicit MX
	case failed != nil && err != nil:
		return nil, nil, temporary(delivery.OpDNS, "4.4.3", failed.Err)
	case failed != nil:
		return nil, nil, failed
	}
	of = siteOf(list)
	c.sites.put(domain, of)
	return inTurn(list), of, nil
}

// usable gives the exchangers that may be tried, the best first and equal ones
// by name, or why there is none. They are copies: the resolver may keep its
// own.
func usable(
	records []*net.MX, own func(name string) bool,
) ([]*net.MX, *delivery.Error) {
	list := make([]*net.MX, len(records))
	for i, m := range records {
		host := strings.ToLower(strings.TrimSuffix(m.Host, "."))
		list[i] = &net.MX{Host: host, Pref: m.Pref}
	}
	slices.SortFunc(list, comparePreference)
	// Section 5.1: hosts as good as or worse than this one would send the mail
	// back.
	if i := slices.IndexFunc(list, func(m *net.MX) bool { return own(m.Host) }); i >= 0 {
		mine := list[i].Pref
		list = list[:slices.IndexFunc(list, func(m *net.MX) bool { return m.Pref == mine })]
		if !slices.ContainsFunc(list, isHost) {
			return nil, permanent(delivery.OpDNS, "5.4.6", errLoop)
		}
	}
	var known []string
	list = slices.DeleteFunc(list, func(m *net.MX) bool {
		again := slices.Contains(known, m.Host) // with another preference
		known = append(known, m.Host)
		return again || !isHost(m)
	})
	if len(list) == 0 {
		return nil, permanent(delivery.OpDNS, "5.1.10", errNullMX) // RFC 7505
	}
	return list, nil
}

// inTurn gives the hosts to be tried, equal ones in random order.
func inTurn(list []*net.MX) []string {
	list = slices.Clone(list)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b *net.MX) int { return cmp.Compare(a.Pref, b.Pref) })
	hosts := make([]string, min(len(list), maxMXHosts))
	for i := range hosts {
		hosts[i] = list[i].Host
	}
	return hosts
}

// isThisHost tells whether a name is this host's, or one by which it was found
// to be known in the DNS.
func (c *Client) isThisHost(name string) bool {
	return sameName(name, c.cfg.Hostname) || c.aliases.has(name)
}

// isHost reports whether an exchanger is not the null MX.
func isHost(m *net.MX) bool { return m.Host != "" }

func sameName(a, b string) bool {
	return b != "" && strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}
