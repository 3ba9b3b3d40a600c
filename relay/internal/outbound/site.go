package outbound

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of what is remembered of domains. One costs about 100 bytes, and a
// site as much as the names of its exchangers.
const (
	maxDomains = 25_000
	// siteFor is how long the exchangers of a domain are taken for those of its
	// site without another look-up, and siteKept how long they are told.
	siteFor  = 5 * time.Minute
	siteKept = 24 * time.Hour
	// maxSiteNames bounds the names of a site that are kept, in octets: all or
	// none, as one left out may belong to somebody else than the others.
	maxSiteNames = 1024
)

// site is a set of mail exchangers, whatever the domains that have them.
type site struct {
	name  string   // of the set
	hosts []string // in the order of their names; none if they are too long
	// order is the set with its preferences: domains that have both in common
	// may share connections.
	order   string
	domains int // that are remembered to have it
}

// siteOf is the site of exchangers in the order of preference and, among equal
// ones, of their names.
func siteOf(list []*net.MX) *site {
	var order strings.Builder
	var hosts []string
	for i, m := range list {
		switch {
		case i > 0 && m.Pref == list[i-1].Pref:
			order.WriteByte('=')
		case i > 0:
			order.WriteByte('>')
		}
		order.WriteString(m.Host)
		hosts = append(hosts, m.Host)
	}
	slices.Sort(hosts)
	s := &site{name: short(strings.Join(hosts, ",")), order: short(order.String())}
	if len(strings.Join(hosts, "")) <= maxSiteNames {
		s.hosts = hosts
	}
	return s
}

// short bounds a name that is made of names, which differ in what is cut off
// too.
func short(name string) string {
	const most = 512
	if len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:most-32] + hex.EncodeToString(sum[:16])
}

// sites remembers which site a domain belongs to. It is safe for concurrent
// use. Domains are in lower case.
type sites struct {
	mu      sync.Mutex
	born    time.Time
	domains map[string]siteEntry
	byOrder map[string]*site
}

type siteEntry struct {
	*site
	seen time.Duration // when it was looked up, since born
}

// get returns the site of a domain, nil if it is not known, and how long ago it
// was looked up.
func (s *sites) get(domain string) (of *site, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.domains[strings.ToLower(domain)]
	if !ok {
		return nil, 0
	}
	if age = time.Since(s.born) - e.seen; age > siteKept {
		return nil, 0
	}
	return e.site, age
}

// put remembers the site of a domain.
func (s *sites) put(domain string, of *site) {
	domain = strings.ToLower(domain)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.domains == nil {
		s.domains, s.byOrder = make(map[string]siteEntry), make(map[string]*site)
		s.born = time.Now()
	}
	if _, known := s.domains[domain]; known {
		s.drop(domain)
	} else if len(s.domains) >= maxDomains {
		s.dropOld()
	}
	if known := s.byOrder[of.order]; known != nil {
		of = known
	}
	s.byOrder[of.order] = of
	of.domains++
	s.domains[strings.Clone(domain)] = siteEntry{of, time.Since(s.born)}
}

// dropOld makes room: of the few that are looked at, the oldest goes. The
// caller holds the lock.
func (s *sites) dropOld() {
	const looks = 8
	var victim string
	n := 0
	for domain, e := range s.domains {
		if n == 0 || e.seen < s.domains[victim].seen {
			victim = domain
		}
		if n++; n == looks {
			break
		}
	}
	s.drop(victim)
}

func (s *sites) drop(domain string) {
	of := s.domains[domain].site
	delete(s.domains, domain)
	if of.domains--; of.domains == 0 {
		delete(s.byOrder, of.order)
	}
}

// comparePreference is the order of exchangers in a site.
func comparePreference(a, b *net.MX) int {
	return cmp.Or(cmp.Compare(a.Pref, b.Pref), cmp.Compare(a.Host, b.Host))
}
