package connector

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
)

// AddressSpace is a set of recipient domains with a cost.
type AddressSpace struct {
	// Domain is "example.com" for that domain alone, "*.example.com" for it and
	// every subdomain, or "*" for all. Names are written in A-labels.
	Domain string
	// Cost decides between connectors with the same address space: the lowest
	// wins, 1 to 100. Defaults to 1.
	Cost int
}

// AllDomains is the address space of a send connector for all mail that no
// narrower one takes.
func AllDomains() []AddressSpace { return []AddressSpace{{Domain: "*", Cost: 1}} }

const maxCost = 100

// ParseAddressSpace reads "domain" or "domain;cost", with "SMTP:" before it or
// not.
func ParseAddressSpace(s string) (AddressSpace, error) {
	a, err := parseAddressSpace(s)
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return AddressSpace{}, fmt.Errorf("connector: invalid address space %q: %w", s, err)
	}
	a.Domain = canonicalDomain(a.Domain)
	return a, nil
}

func parseAddressSpace(s string) (AddressSpace, error) {
	s = strings.TrimSpace(s)
	if kind, rest, ok := strings.Cut(s, ":"); ok {
		if !strings.EqualFold(strings.TrimSpace(kind), "SMTP") {
			return AddressSpace{}, fmt.Errorf("type %q; only SMTP is known", kind)
		}
		s = strings.TrimSpace(rest)
	}
	domain, cost, ok := strings.Cut(s, ";")
	a := AddressSpace{Domain: strings.TrimSpace(domain), Cost: 1}
	if ok {
		n, err := strconv.Atoi(strings.TrimSpace(cost))
		if err != nil || n == 0 {
			return AddressSpace{}, fmt.Errorf("cost %q is not a number from 1 to %d", cost, maxCost)
		}
		a.Cost = n
	}
	return a, nil
}

func canonicalDomain(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

func (a AddressSpace) check() error {
	if a.Cost < 0 || a.Cost > maxCost {
		return fmt.Errorf("cost %d is out of range; use 1 to %d", a.Cost, maxCost)
	}
	if a.Domain == "*" {
		return nil
	}
	domain := strings.TrimPrefix(canonicalDomain(a.Domain), "*.")
	if strings.Contains(domain, "*") {
		return errors.New("a * stands alone or before the first dot, as in *.example.com")
	}
	return checkDomain(domain)
}

func (a AddressSpace) cost() int { return max(a.Cost, 1) }

// String returns the space as "domain;cost".
func (a AddressSpace) String() string { return a.Domain + ";" + strconv.Itoa(a.cost()) }

// MarshalText returns the space as "domain;cost". It fails for an invalid
// space.
func (a AddressSpace) MarshalText() ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("connector: invalid address space %q: %w", a.Domain, err)
	}
	return []byte(a.String()), nil
}

// UnmarshalText reads what [ParseAddressSpace] reads.
func (a *AddressSpace) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAddressSpace(string(text))
	return err
}

// SendConnector says how mail leaves for its address spaces. Printed or
// logged it shows its name only, never the password.
type SendConnector struct {
	// Name identifies the connector in logs and events: unique without regard
	// to case, at most 64 characters. Required.
	Name string
	// AddressSpaces are the recipient domains the connector is for. Required.
	AddressSpaces []AddressSpace
	// NextHop says where the mail goes and how, by SMTP. Defaults to the mail
	// exchangers of the recipient's domain.
	NextHop
	// Transport names one of the application's transports, an entry of the
	// relay's Config.Transports, which takes the place of NextHop: nothing in
	// there may be set beside it. Defaults to none.
	Transport string
	// MaxMessageBytes bounds a message, in octets; a larger one is for another
	// connector. Defaults to no limit.
	MaxMessageBytes int64
	// Disabled takes the connector out of use. It is still checked. Defaults to
	// false.
	Disabled bool
}

// WithDefaults returns c with the defaults of its next hop filled in.
func (c SendConnector) WithDefaults() SendConnector {
	c.NextHop = c.NextHop.WithDefaults()
	return c
}

// String returns the name.
func (c SendConnector) String() string { return c.Name }

// GoString returns the name. It keeps the password out of %#v.
func (c SendConnector) GoString() string {
	return fmt.Sprintf("connector.SendConnector{Name:%q}", c.Name)
}

// LogValue returns the name.
func (c SendConnector) LogValue() slog.Value { return slog.StringValue(c.Name) }

// Validate checks the connector by itself. The error holds every fault, joined
// with [errors.Join], each a *[postern.FieldError] with a path such as
// "Hosts[0]".
func (c *SendConnector) Validate() error {
	var f faults
	if c == nil {
		f.in("")("", "nil send connector")
		return f.join()
	}
	c.validate(f.in(""))
	return f.join()
}

func (c *SendConnector) validate(fault report) {
	checkName(fault, c.Name)
	c.validateSpaces(fault)
	c.NextHop.validate(fault)
	c.validateTransport(fault)
	if c.MaxMessageBytes < 0 {
		fault("MaxMessageBytes", "%d is negative; use 0 for no limit", c.MaxMessageBytes)
	}
}

func (c *SendConnector) validateTransport(fault report) {
	if c.Transport != "" && !reflect.ValueOf(c.NextHop).IsZero() {
		fault(
			"Transport",
			"takes the place of a next hop, of which something is set; leave one empty",
		)
	}
}

func (c *SendConnector) validateSpaces(fault report) {
	if len(c.AddressSpaces) == 0 {
		fault("AddressSpaces", "missing; use * for all domains")
	}
	seen := make(map[string]bool, len(c.AddressSpaces))
	for i, a := range c.AddressSpaces {
		field := fmt.Sprintf("AddressSpaces[%d]", i)
		domain := canonicalDomain(a.Domain)
		if err := a.check(); err != nil {
			fault(field, "%q: %w", a.Domain, err)
		} else if seen[domain] {
			fault(field, "%q is listed twice; remove one", a.Domain)
		}
		seen[domain] = true
	}
}
