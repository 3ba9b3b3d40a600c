package connector

import (
	"fmt"
	"net/netip"
)

// Candidate is one connector's part in the choice that [Set.Match] makes, and
// why it was chosen or not.
type Candidate struct {
	Connector *Connector
	// Binding is the connector's binding that takes connections to the local
	// address; invalid when it has none.
	Binding netip.AddrPort
	// Range is the connector's narrowest range on that binding that holds the
	// remote address; the zero Range when it has none.
	Range Range
	// Chosen tells that this is the connector that Match returns.
	Chosen bool
	// Reason says why it was chosen or not, in one sentence.
	Reason string
}

// Explain returns every connector that takes part, in the order given to
// [NewSet], with the reason why [Set.Match] chooses it or not.
func (s *Set) Explain(local netip.AddrPort, remote netip.Addr) []Candidate {
	local, remote = unmap(local), remote.Unmap()
	chosen, _ := s.Match(local, remote)
	taken := s.binding(local)
	list := make([]Candidate, 0, len(s.Connectors()))
	for _, c := range s.Connectors() {
		list = append(list, c.candidate(taken, local, remote, chosen))
	}
	return list
}

// binding returns the one binding that takes connections to local, as
// [Set.table] finds it.
func (s *Set) binding(local netip.AddrPort) netip.AddrPort {
	if s == nil || !local.IsValid() {
		return netip.AddrPort{}
	}
	for _, addr := range [...]netip.Addr{
		local.Addr(), netip.IPv4Unspecified(), netip.IPv6Unspecified(),
	} {
		b := netip.AddrPortFrom(addr, local.Port())
		if addr == netip.IPv4Unspecified() && !local.Addr().Is4() {
			continue
		}
		if _, ok := s.tables[b]; ok {
			return b
		}
	}
	return netip.AddrPort{}
}

func (c *Connector) candidate(
	taken, local netip.AddrPort, remote netip.Addr, chosen *Connector,
) Candidate {
	k := Candidate{Connector: c}
	other := netip.AddrPort{} // a binding that would do if taken did not exist
	for _, b := range c.Bindings {
		switch b = unmap(b); {
		case b == taken:
			k.Binding = b
		case b.Port() == local.Port() && b.Addr().IsUnspecified():
			other = b
		}
	}
	switch {
	case !k.Binding.IsValid() && other.IsValid():
		k.Reason = fmt.Sprintf("its binding %s gives way to the binding %s", other, taken)
		return k
	case !k.Binding.IsValid():
		k.Reason = fmt.Sprintf("no binding of it takes connections to %s", local)
		return k
	}
	for _, r := range c.RemoteIPRanges {
		if r.Contains(remote) && (!k.Range.IsValid() || r.within(k.Range)) {
			k.Range = r
		}
	}
	switch {
	case !k.Range.IsValid():
		k.Reason = fmt.Sprintf("no remote range of it holds %s", remote)
	case c == chosen:
		k.Chosen = true
		k.Reason = fmt.Sprintf(
			"its range %s is the narrowest on %s that holds %s", k.Range, k.Binding, remote,
		)
	default:
		k.Reason = fmt.Sprintf("connector %q has a narrower range than %s", chosen.Name, k.Range)
	}
	return k
}

// within reports whether r lies inside o, given that both hold a common
// address.
func (r Range) within(o Range) bool {
	return o.From.Compare(r.From) <= 0 && r.To.Compare(o.To) <= 0
}

// RightSource tells where a right came from, or why it is missing.
type RightSource struct {
	Right   Right
	Granted bool
	// Reason names the group or the grant, in one phrase.
	Reason string
}

// Explain returns the principal that the peer is on this connector, and for
// each right where it comes from or why it is missing. It agrees with
// [Connector.Rights].
func (c *Connector) Explain(p Subject) (Principal, []RightSource) {
	r := c.role(&p)
	principal := c.principal(r, &p)
	have := c.Rights(p)
	group := r.group()
	inGroup := r.groupRights(c.PermissionGroups)
	var list []RightSource
	for right := Submit; right <= BypassMessageSizeLimit; right <<= 1 {
		s := RightSource{Right: right, Granted: have.Has(right)}
		switch deny, grant := c.grantOf(r, &p, right, true), c.grantOf(r, &p, right, false); {
		case deny != nil:
			s.Reason = "denied to " + deny.Principal.String()
		case inGroup.Has(right):
			s.Reason = "permission group " + group.String()
		case grant != nil:
			s.Reason = "granted to " + grant.Principal.String()
		case c.PermissionGroups&group == 0:
			s.Reason = "no grant, and the connector lacks the permission group " + group.String()
		default:
			s.Reason = "no grant, and the permission group " + group.String() + " does not hold it"
		}
		list = append(list, s)
	}
	return principal, list
}

func (c *Connector) grantOf(r role, p *Subject, right Right, deny bool) *Grant {
	for i := range c.Grants {
		if g := &c.Grants[i]; g.Deny == deny && g.Rights.Has(right) && c.applies(g, r, p) {
			return g
		}
	}
	return nil
}

func (c *Connector) principal(r role, p *Subject) Principal {
	switch r {
	case roleAuthenticated:
		return User(p.User)
	case roleServer:
		return Servers
	case rolePartner:
		return PartnerName(c.partner(p))
	case roleExternallySecured:
		return ExternallySecured
	default:
		return Anonymous
	}
}

// Permissions describes who may do something on the connector, in Exchange's
// words: its permission groups, and Custom when a grant departs from them, such
// as "AnonymousUsers, Custom". As in Exchange, Custom cannot be set: it only
// shows.
func (c *Connector) Permissions() string {
	s := c.PermissionGroups.String()
	for _, g := range c.Grants {
		if g.Rights == 0 {
			continue
		}
		if c.PermissionGroups == 0 {
			return "Custom"
		}
		return s + ", Custom"
	}
	return s
}
