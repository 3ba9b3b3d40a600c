package exchange

import (
	"cmp"
	"slices"
	"strings"

	"github.com/postern-mail/postern/connector"
)

// entries are the permissions of one connector, summed up in the order of the
// dump.
type entries struct {
	kinds    []connector.Principal
	allowed  map[connector.Principal]connector.Right
	denied   map[connector.Principal]connector.Right
	accounts map[string]*account
	order    []*account
}

// account is what the permissions of a connector say of one account of the
// directory.
type account struct {
	identity
	name            string
	allowed, denied connector.Right
	unknown         []string // rights without a counterpart
}

func newEntries() *entries {
	return &entries{
		allowed:  map[connector.Principal]connector.Right{},
		denied:   map[connector.Principal]connector.Right{},
		accounts: map[string]*account{},
	}
}

// account returns the sum for an account, which is known by key.
func (e *entries) account(key, name string, id identity) *account {
	a := e.accounts[key]
	if a == nil {
		a = &account{identity: id, name: name}
		e.accounts[key] = a
		e.order = append(e.order, a)
	}
	return a
}

// sum adds up what the accounts mean for the principals that they stand for.
func (e *entries) sum() {
	add := func(
		list []connector.Principal, rights connector.Right,
		to map[connector.Principal]connector.Right,
	) {
		if rights == 0 {
			return
		}
		for _, p := range list {
			if to[p] |= rights; !slices.Contains(e.kinds, p) {
				e.kinds = append(e.kinds, p)
			}
		}
	}
	for _, a := range e.order {
		add(a.allow, a.allowed, e.allowed)
		add(a.deny, a.denied, e.denied)
	}
}

// permissions turns directory permissions into grants.
func (r *reader) permissions(rows []*object, connectors []*receive) {
	sums := map[*receive]*entries{}
	if len(connectors) == 0 && len(rows) > 0 {
		r.note("permissions", "Identity", "", "left out: the dump has no receive connectors")
		return
	}
	known, lost := domainsOf(rows), map[string]bool{}
	for _, o := range rows {
		c, identity := r.subject(o, connectors)
		switch {
		case c == nil && identity != "":
			if !isElsewhere(identity, connectors) && o.isDenial() {
				o.fault("Identity", "%q is no receive connector of the dump, and what it denies "+
					"would be lost",
					oneLine(identity))
			} else if !lost[identity] {
				lost[identity] = true
				r.note(
					"permissions", "Identity", identity,
					"left out: no receive connector of the dump",
				)
			}
		case c != nil && !c.elsewhere:
			if sums[c] == nil {
				sums[c] = newEntries()
			}
			r.permission(o, c, sums[c], known)
		}
	}
	for _, c := range connectors {
		e := sums[c]
		if e != nil {
			r.grant(c, e)
		}
		if c.custom && !c.elsewhere && (e == nil || len(e.order) == 0) && len(r.strangers) == 0 {
			c.o.fault("PermissionGroups", "Custom: it has permissions beyond its groups, or "+
				"lacks some of "+
				"theirs, but none are in the dump; "+
				"read the output of Get-ADPermission as well")
		}
	}
}

// isElsewhere reports whether an identity such as EX02\Relay is of a server
// that has no connector in the dump. Only where all identities have this form
// does another server's name prove it.
func isElsewhere(identity string, connectors []*receive) bool {
	server := serverOf(identity)
	return server != "" && !slices.ContainsFunc(connectors, func(c *receive) bool {
		own := serverOf(c.identity)
		return own == "" || strings.EqualFold(own, server) || strings.EqualFold(c.server, server)
	})
}

// isDenial reports whether a row takes something away that has a counterpart,
// or may have.
func (o *object) isDenial() bool {
	rights, unknown := o.rights()
	return o.isTrue("Deny") && (rights != 0 || o.everyRight() || slices.ContainsFunc(unknown,
		isUnclear))
}

// subject returns the connector of a row. Without one it returns what the row
// says, or nothing after a fault.
func (r *reader) subject(o *object, connectors []*receive) (*receive, string) {
	identity := o.text("Identity", "DistinguishedName", "Name")
	if identity == "" {
		if len(connectors) == 1 {
			return connectors[0], ""
		}
		o.fault(
			"Identity",
			"missing; select Identity as well, since there are several receive connectors",
		)
		return nil, ""
	}
	for _, c := range connectors {
		dn := c.o.text("DistinguishedName")
		if strings.EqualFold(identity, c.identity) || strings.EqualFold(identity, dn) ||
			strings.EqualFold(identity, c.server+`\`+c.o.text("Name")) {
			return c, ""
		}
	}
	var named *receive
	for _, c := range connectors {
		if !strings.EqualFold(identity, c.o.text("Name")) {
			continue
		}
		if named != nil {
			o.fault("Identity", "%q names several receive connectors", oneLine(identity))
			return nil, ""
		}
		named = c
	}
	return named, identity
}

// permission adds a row to those of its connector.
func (r *reader) permission(o *object, c *receive, e *entries, known map[string]bool) {
	name, sid, ok := o.account()
	if !ok {
		return
	}
	rights, unknown := o.rights()
	all := rights == 0 && o.everyRight()
	if rights == 0 && len(unknown) == 0 && !all {
		return // about the directory
	}
	deny, ok := o.flag("Deny")
	if !ok {
		o.require("Deny")
		return
	}
	key := cmp.Or(sid, strings.ToLower(name))
	if all && !deny {
		if id, ok := identityOf(name, sid, known); ok && id.kind {
			r.note(c.o.label, "Permissions", name, "has every right by its access rights; left "+
				"out: grant "+
				"the rights by name")
		}
		return // an administrator
	}
	id, ok := identityOf(name, sid, known)
	if !ok {
		if rights != 0 || o.isDenial() {
			r.unplaced(o, key, name)
		}
		return
	}
	a := e.account(key, name, id)
	for _, u := range unknown {
		if !slices.Contains(a.unknown, u) {
			a.unknown = append(a.unknown, u)
		}
	}
	switch {
	case deny:
		if all {
			rights = allRights()
		}
		if i := slices.IndexFunc(unknown, isUnclear); i >= 0 {
			o.fault("ExtendedRights", "%q is denied, but is the name of no right; print the "+
				"rights by name",
				oneLine(unknown[i]))
		}
		if rights != 0 && o.isTrue("IsInherited") {
			r.note(c.o.label, "Permissions", name+": "+
				rights.String(), "an inherited denial; in Exchange "+
				"a grant on the connector itself outweighs it, here the denial wins")
		}
		a.denied |= rights
	case o.isForOthers():
		if rights != 0 {
			r.note(c.o.label, "Permissions", name+": "+
				rights.String(), "left out: granted for objects "+
				"below the connector, not for the connector itself")
		}
	default:
		a.allowed |= rights
	}
}

// unplaced adds a fault for an account that nobody can place, once for each.
func (r *reader) unplaced(o *object, key, name string) {
	if r.strangers[key] {
		return
	}
	r.strangers[key] = true
	o.fault("User", "%q may be anybody: the dump has no security identifier for it. Select Sid as "+
		"well, "+
		"as the documentation of package exchange shows, or put it into the row", oneLine(name))
}

// isForOthers reports whether a row is not about the connector itself but about
// objects below it, or about another class of objects.
func (o *object) isForOthers() bool {
	word := o.choice("InheritanceType", map[string]string{
		"0": "None", "1": "All", "2": "Descendents", "3": "SelfAndChildren", "4": "Children",
	})
	if strings.EqualFold(word, "Descendents") || strings.EqualFold(word, "Children") {
		return true
	}
	v, ok := o.get("InheritedObjectType")
	return ok && !isNothing(v) && !strings.EqualFold(show(v), "ms-Exch-Smtp-Receive-Connector")
}

// explain notes what became of the permissions of an account that are not those
// of a kind of session.
func (r *reader) explain(c *receive, a *account) {
	note := func(rights connector.Right, reason string) {
		if rights != 0 {
			r.note(c.o.label, "Permissions", a.name+": "+rights.String(), reason)
		}
	}
	switch {
	case a.member:
		// What it may do is what its permission group says.
	case a.kind:
		// Exchange's servers have rights to their own protocols, which are not
		// spoken.
		external := c.AuthMechanisms.Has(connector.ExternalAuthoritative)
		if p := a.allow[0]; p != connector.Servers &&
			external == (p == connector.ExternallySecured) && len(a.unknown) > 0 {
			r.note(
				c.o.label, "Permissions", a.name+": "+strings.Join(a.unknown, ", "),
				"no counterpart",
			)
		}
	case len(a.allow) == 0:
		note(a.allowed, "left out: stands for no kind of session here")
		note(a.denied, "denied to every kind of session that this may be about")
	default:
		note(
			a.allowed,
			"granted to a user of this name; write group: if it is a group, and the name that "+
				"your users log on with",
		)
		note(a.denied, "denied to all who log on, since the dump does not tell which of your "+
			"users "+
			"this is about; "+
			"deny it to user: or group: with your own names instead")
	}
}
