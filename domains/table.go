package domains

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-mail/postern"
)

// AcceptedDomain is a domain the relay accepts mail for from anybody who may
// submit.
type AcceptedDomain struct {
	// Domain is "example.com" for that domain alone, "*.example.com" for it and
	// every subdomain, or an address literal such as "[192.0.2.1]". U-labels
	// are accepted. At most 256 octets.
	Domain string
	// Type decides what happens to unknown recipients. Defaults to
	// Authoritative.
	Type Type
	// MatchSubdomains makes a plain Domain cover its subdomains as well.
	// Defaults to false.
	MatchSubdomains bool
	// Recipients tells which recipients exist. It must be set for an
	// Authoritative domain, may be set for InternalRelay, and must be nil for
	// ExternalRelay. The relay lets postmaster exist in every authoritative
	// domain (RFC 5321 section 4.5.1).
	Recipients Resolver
	// SkipLookup accepts every recipient at RCPT without asking Recipients, as
	// Exchange does for a domain without recipient lookup. They are asked when
	// the message has arrived: it is refused if no recipient of it exists, and
	// otherwise the sender gets a report on the unknown ones, unless it is a
	// stranger, whose address may be forged. Defaults to false.
	SkipLookup bool
}

const maxEntry = 256 // octets of AcceptedDomain.Domain

// Table finds the accepted domain of an address. It is immutable and safe for
// concurrent use. A nil Table holds nothing.
type Table struct {
	list  []AcceptedDomain
	exact map[string]*AcceptedDomain // by the domain alone
	below map[string]*AcceptedDomain // by the domain of which it and all subdomains are covered
	// labels is the most labels of a key in below.
	labels int
}

// NewTable checks the list and builds a table. The error holds every fault,
// joined with [errors.Join], each a *[postern.FieldError] with a path such as
// "[1].Domain".
//
// Two entries may cover the same name if one is more specific: "example.com"
// wins over "*.example.com" for example.com itself, and "*.eu.example.com" over
// "*.example.com" for everything below eu.example.com.
func NewTable(list ...AcceptedDomain) (*Table, error) {
	t := &Table{
		list:  slices.Clone(list),
		exact: make(map[string]*AcceptedDomain),
		below: make(map[string]*AcceptedDomain),
	}
	var faults []error
	for i := range t.list {
		fault := func(field string, err error) {
			faults = append(
				faults, &postern.FieldError{Field: fmt.Sprintf("[%d].%s", i, field), Err: err},
			)
		}
		if err := t.add(&t.list[i]); err != nil {
			fault("Domain", err)
		}
		checkRecipients(&t.list[i], fault)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return t, nil
}

// add makes the name of d canonical and enters it.
func (t *Table) add(d *AcceptedDomain) error {
	name, wild := strings.CutPrefix(d.Domain, "*.")
	switch {
	case d.Domain == "":
		return errors.New("must be set")
	case len(d.Domain) > maxEntry:
		return fmt.Errorf("longer than %d octets", maxEntry)
	case strings.Contains(name, "*"):
		return errors.New("a wildcard may only be the first label: *.example.com")
	case isLiteral(name) && (wild || d.MatchSubdomains):
		return errors.New("an address literal has no subdomains")
	}
	name, err := ParseDomain(name)
	if err != nil {
		return err
	}
	if !wild && t.exact[name] != nil || (wild || d.MatchSubdomains) && t.below[name] != nil {
		return fmt.Errorf("another entry covers %s in the same way", name)
	}
	d.Domain = name
	if !wild {
		t.exact[name] = d
	} else {
		d.Domain = "*." + name
	}
	if wild || d.MatchSubdomains {
		t.below[name] = d
		t.labels = max(t.labels, strings.Count(name, ".")+1)
	}
	return nil
}

func checkRecipients(d *AcceptedDomain, fault func(field string, err error)) {
	set := d.Recipients != nil
	if f, ok := d.Recipients.(ResolverFunc); ok && f == nil {
		set = false
	}
	switch {
	case d.Type > ExternalRelay:
		fault("Type", fmt.Errorf("unknown type %d", uint8(d.Type)))
	case d.Type == Authoritative && !set:
		fault("Recipients", errors.New("must be set for an authoritative domain"))
	case d.Type == ExternalRelay && d.Recipients != nil:
		fault(
			"Recipients",
			errors.New("must not be set for an external relay domain: it has no recipients here"),
		)
	case d.Recipients != nil && !set:
		fault("Recipients", errors.New("is a nil ResolverFunc"))
	}
	if d.SkipLookup && !set {
		fault("SkipLookup", errors.New("has no meaning without Recipients"))
	}
	if s, ok := d.Recipients.(*staticRecipients); ok {
		for _, f := range s.faults {
			fault(fmt.Sprintf("Recipients[%d]", f.index), f.err)
		}
	}
}

// Lookup returns the entry for a domain in the form of [Address.Domain]; the
// most specific entry wins. It allocates nothing. A nil Table holds nothing.
// The entry's Domain is in canonical form; the entry must not be changed.
func (t *Table) Lookup(domain string) (*AcceptedDomain, bool) {
	if t == nil || domain == "" {
		return nil, false
	}
	if d, ok := t.exact[domain]; ok {
		return d, true
	}
	if len(t.below) == 0 || isLiteral(domain) {
		return nil, false
	}
	for domain = lastLabels(domain, t.labels); ; {
		if d, ok := t.below[domain]; ok {
			return d, true
		}
		i := strings.IndexByte(domain, '.')
		if i < 0 {
			return nil, false
		}
		domain = domain[i+1:]
	}
}

// lastLabels returns the last n labels of a domain: a name of a hundred labels
// is not to cost a hundred lookups.
func lastLabels(domain string, n int) string {
	for i := len(domain) - 1; i >= 0; i-- {
		if domain[i] == '.' {
			if n--; n == 0 {
				return domain[i+1:]
			}
		}
	}
	return domain
}

// Domains returns a copy of the entries in the order they were given, each
// Domain in canonical form. A nil Table has none.
func (t *Table) Domains() []AcceptedDomain {
	if t == nil {
		return nil
	}
	return slices.Clone(t.list)
}
