package dns

import (
	"cmp"
	"encoding/hex"
	"errors"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/postern-mail/postern/relay/delivery"
)

const (
	maxAliases = 8
	maxRecords = 64
)

var errLoop = errors.New("too many aliases")

// read takes what counts out of an answer to a question. The reply's name is
// the end of the aliases in the answer; more tells that the answer does not say
// what that has: it is to be asked.
func read(m *dns.Msg, q question) (p *reply, more bool, err error) {
	p = &reply{name: q.name, ttl: mostTTL}
	for range maxAliases {
		if p.take(m.Answer, q.kind); p.records() > 0 {
			p.best()
			return p, false, nil
		}
		target, ttl, ok := aliasOf(m.Answer, p.name)
		if !ok {
			return p, p.absent(m, q), nil
		}
		p.name, p.ttl = target, min(p.ttl, ttl)
	}
	return nil, false, errLoop
}

func (p *reply) records() int {
	return len(p.exchanges) + len(p.addresses) + len(p.texts) + len(p.tlsa)
}

// aliasOf returns what a name is an alias of.
func aliasOf(list []dns.RR, name string) (target string, ttl time.Duration, ok bool) {
	for _, rr := range list {
		c, isAlias := rr.(*dns.CNAME)
		if isAlias && c.Hdr.Class == dns.ClassINET && sameName(c.Hdr.Name, name) {
			target, valid := canonicalName(c.Target)
			return target, seconds(c.Hdr.Ttl), valid
		}
	}
	return "", 0, false
}

// seconds is a TTL. One with its first bit set is none (RFC 2181 section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > math.MaxInt32 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// absent makes the reply one of no such records, unless the name at the end of
// aliases has not been looked at: then it returns true.
func (p *reply) absent(m *dns.Msg, q question) (more bool) {
	soa, found := soaFor(m.Ns, p.name)
	switch {
	case p.err != nil: // there are some, but malformed
	case m.Rcode == dns.RcodeNameError:
		p.err = notFound(q.name, delivery.ErrNoName)
	case p.name != q.name && !found:
		return true
	default:
		p.err = notFound(q.name, delivery.ErrNoRecords)
	}
	if !found {
		p.ttl = min(p.ttl, bareAbsent)
		return false
	}
	// RFC 2308 section 5
	p.ttl = min(p.ttl, seconds(soa.Hdr.Ttl), seconds(soa.Minttl), mostAbsent)
	return false
}

// soaFor returns the SOA record of a zone with the name.
func soaFor(list []dns.RR, name string) (*dns.SOA, bool) {
	for _, rr := range list {
		soa, ok := rr.(*dns.SOA)
		if ok && soa.Hdr.Class == dns.ClassINET &&
			dns.IsSubDomain(dns.Fqdn(soa.Hdr.Name), dns.Fqdn(name)) {
			return soa, true
		}
	}
	return nil, false
}

// take collects the records of the reply's name. Those that cannot be meant are
// left out, with an error beside the others.
func (p *reply) take(list []dns.RR, kind uint16) {
	for _, rr := range list {
		h := rr.Header()
		if h.Rrtype != kind || h.Class != dns.ClassINET || !sameName(h.Name, p.name) {
			continue
		}
		if !p.add(rr) {
			p.err = &net.DNSError{Err: "malformed DNS records", Name: p.name, IsTemporary: true}
			continue
		}
		p.ttl = min(p.ttl, seconds(h.Ttl))
	}
}

// add adds a record, and reports false if it is malformed.
func (p *reply) add(rr dns.RR) bool {
	switch rr := rr.(type) {
	case *dns.MX:
		if !isHost(rr.Mx) {
			return false
		}
		p.exchanges = append(p.exchanges, net.MX{Host: rr.Mx, Pref: rr.Preference})
	case *dns.A:
		return p.addAddress(rr.A)
	case *dns.AAAA:
		return p.addAddress(rr.AAAA)
	case *dns.TXT:
		p.texts = append(p.texts, unescape(strings.Join(rr.Txt, "")))
	case *dns.PTR:
		if !isHost(rr.Ptr) || rr.Ptr == "." {
			return false
		}
		p.texts = append(p.texts, strings.TrimSuffix(rr.Ptr, "."))
	case *dns.TLSA:
		data, err := hex.DecodeString(rr.Certificate)
		if err != nil {
			return false
		}
		p.tlsa = append(p.tlsa, delivery.TLSA{
			Usage: rr.Usage, Selector: rr.Selector, MatchingType: rr.MatchingType, Data: data,
		})
	default:
		return false
	}
	return true
}

func (p *reply) addAddress(ip net.IP) bool {
	addr, ok := netip.AddrFromSlice(ip)
	if ok {
		p.addresses = append(p.addresses, addr.Unmap())
	}
	return ok
}

// best sorts exchangers by preference and bounds what is kept.
func (p *reply) best() {
	slices.SortStableFunc(p.exchanges, func(a, b net.MX) int { return cmp.Compare(a.Pref, b.Pref) })
	p.exchanges = bound(p.exchanges)
	p.addresses = bound(p.addresses)
	p.texts = bound(p.texts)
	p.tlsa = bound(p.tlsa)
}

// bound returns the first records in memory of their own.
func bound[T any](list []T) []T {
	if len(list) <= maxRecords {
		return list
	}
	return slices.Clone(list[:maxRecords])
}

// unescape returns the text of a record, which the DNS library shows with
// backslashes before quotes and with \DDD for other bytes (RFC 1035 section
// 5.1).
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			if n, ok := decimal(s[i+1:]); ok {
				c, i = n, i+3
			} else {
				i++
				c = s[i]
			}
		}
		b = append(b, c)
	}
	return string(b)
}

// decimal reads three digits at the start of s as a byte.
func decimal(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	n := 0
	for i := range 3 {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return byte(n), n < 256
}
