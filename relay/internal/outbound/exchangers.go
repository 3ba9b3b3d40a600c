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

// exchangers looks the mail exchangers of a domain up (RFC 5321 section 5.1). A
// resolver may leave out records that it cannot read and tell so by an error
// beside the list: those it has are tried, but such a list proves nothing.
func (c *Client) exchangers(ctx context.Context, domain string) ([]string, *delivery.Error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	answer, err := c.cfg.Resolver.LookupMX(ctx, domain)
	if len(answer.Records) == 0 {
		if err != nil && !delivery.IsNotFound(err) {
			return nil, temporary(delivery.OpDNS, "4.4.3", err)
		}
		return []string{domain}, nil // implicit MX
	}
	hosts, no := preferred(answer.Records, c.cfg.Hostname)
	if no != nil && err != nil {
		no = temporary(delivery.OpDNS, "4.4.3", no.Err)
	}
	return hosts, no
}

// preferred gives the exchangers to be tried, the best first and equal ones in
// random order, or why there is none.
func preferred(list []*net.MX, own string) ([]string, *delivery.Error) {
	list = slices.Clone(list) // the resolver may keep it
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b *net.MX) int { return cmp.Compare(a.Pref, b.Pref) })
	// Section 5.1: hosts as good as or worse than this one would send the mail
	// back.
	if i := slices.IndexFunc(list, func(m *net.MX) bool { return sameName(m.Host, own) }); i >= 0 {
		mine := list[i].Pref
		list = list[:slices.IndexFunc(list, func(m *net.MX) bool { return m.Pref == mine })]
		if !slices.ContainsFunc(list, isHost) {
			return nil, permanent(delivery.OpDNS, "5.4.6", errLoop)
		}
	}
	var hosts []string
	for _, m := range list {
		if isHost(m) && len(hosts) < maxMXHosts {
			hosts = append(hosts, strings.TrimSuffix(m.Host, "."))
		}
	}
	if len(hosts) == 0 {
		return nil, permanent(delivery.OpDNS, "5.1.10", errNullMX) // RFC 7505
	}
	return hosts, nil
}

// isHost reports whether an exchanger is not the null MX.
func isHost(m *net.MX) bool { return strings.TrimSuffix(m.Host, ".") != "" }

func sameName(a, b string) bool {
	return b != "" && strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}
