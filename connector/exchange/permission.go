package exchange

import (
	"slices"
	"strings"

	"github.com/postern-mail/postern/connector"
)

// entries are the permissions of one connector, summed up in the order of the dump.
type entries struct {
	kinds    []connector.Principal
	allowed  map[connector.Principal]connector.Right
	denied   map[connector.Principal]connector.Right
	users    []string
	accounts map[string]*account
}

// account is what the permissions of a connector say of one account of the directory.
type account struct {
	identity
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

func (e *entries) account(user string) *account {
	key := strings.ToLower(user)
	a := e.accounts[key]
	if a == nil {
		a = &account{identity: identityOf(user)}
		e.accounts[key] = a
		e.users = append(e.users, user)
	}
	return a
}

// sum adds up what the accounts mean for the principals that they stand for.
func (e *entries) sum() {
	add := func(list []connector.Principal, rights connector.Right, to map[connector.Principal]connector.Right) {
		if rights == 0 {
			return
		}
		for _, p := range list {
			if to[p] |= rights; !slices.Contains(e.kinds, p) {
				e.kinds = append(e.kinds, p)
			}
		}
	}
	for _, user := range e.users {
		a := e.account(user)
		add(a.allow, a.allowed, e.allowed)
		add(a.deny, a.denied, e.denied)
	}
}

// permissions turns directory permissions into grants.
func (r *reader) permissions(rows []*object, connectors []*receive, d Dump) {
	sums := map[*receive]*entries{}
	if len(connectors) == 0 && len(rows) > 0 {
		r.note("permissions", "Identity", "", "left out: the dump has no receive connectors")
		return
	}
	strangers := map[string]bool{}
	for _, o := range rows {
		c, identity := r.subject(o, connectors)
		if c == nil {
			server, _, ok := strings.Cut(identity, `\`)
			elsewhere := ok && d.Server != "" && !strings.EqualFold(server, d.Server)
			if identity != "" && !elsewhere && !strangers[identity] {
				strangers[identity] = true
				r.note("permissions", "Identity", identity, "left out: no receive connector of the dump")
			}
			continue
		}
		if sums[c] == nil {
			sums[c] = newEntries()
		}
		r.permission(o, c, sums[c])
	}
	for _, c := range connectors {
		if e := sums[c]; e != nil {
			r.grant(c, e)
		} else if c.custom {
			reason := "has permissions beyond its groups, but none are in the dump; what they grant or deny is missing"
			if d.Permissions == nil {
				reason = "has permissions beyond its groups; read the output of Get-ADPermission as well, or what they grant or deny is missing"
			}
			r.note(c.o.label, "PermissionGroups", "Custom", reason)
		}
	}
}

// subject returns the connector of a row. Without one it returns what the row says,
// or nothing after a fault.
func (r *reader) subject(o *object, connectors []*receive) (*receive, string) {
	identity := o.text("Identity", "DistinguishedName", "Name")
	if identity == "" {
		if len(connectors) == 1 {
			return connectors[0], ""
		}
		o.fault("Identity", "missing; select Identity as well, since there are several receive connectors")
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
func (r *reader) permission(o *object, c *receive, e *entries) {
	user := o.text("User", "RawIdentity", "SecurityIdentifier")
	if user == "" {
		o.fault("User", "missing; select User as well")
		return
	}
	deny := o.isTrue("Deny")
	rights, unknown := o.rights()
	all := rights == 0 && o.everyRight()
	if rights == 0 && len(unknown) == 0 && !all {
		return // about the directory
	}
	a := e.account(user)
	switch {
	case all && !a.kind: // an administrator
	case all && deny:
		rights = allRights()
	case all:
		r.note(c.o.label, "Permissions", user, "has every right by its access rights; left out: grant the rights by name")
	}
	if deny && rights != 0 && o.isTrue("IsInherited") {
		r.note(c.o.label, "Permissions", user+": "+rights.String(), "an inherited denial; in Exchange a grant on the connector itself outweighs it, here the denial wins")
	}
	for _, u := range unknown {
		if !slices.Contains(a.unknown, u) {
			a.unknown = append(a.unknown, u)
		}
	}
	if deny {
		a.denied |= rights
	} else {
		a.allowed |= rights
	}
}

// explain notes what became of the permissions of an account that are not those of a kind of session.
func (r *reader) explain(c *receive, user string, a *account) {
	note := func(rights connector.Right, reason string) {
		if rights != 0 {
			r.note(c.o.label, "Permissions", user+": "+rights.String(), reason)
		}
	}
	switch {
	case a.member:
		// What it may do is what its permission group says.
		if len(a.deny) == 0 {
			note(a.denied, "this denial has no counterpart; take the permission group away")
		}
	case a.kind:
		// Exchange's servers have rights to their own protocols, which are not spoken.
		external := c.AuthMechanisms.Has(connector.ExternalAuthoritative)
		if p := a.allow[0]; p != connector.Servers && external == (p == connector.ExternallySecured) && len(a.unknown) > 0 {
			r.note(c.o.label, "Permissions", user+": "+strings.Join(a.unknown, ", "), "no counterpart")
		}
	case len(a.allow) == 0:
		note(a.allowed, "left out: stands for no kind of session here")
		if len(a.deny) == 0 {
			note(a.denied, "this denial has no counterpart: it names no user and no kind of session here")
		}
	default:
		note(a.allowed, "granted to a user of this name; write group: if it is a group, and the name that your users log on with")
		note(a.denied, "denied to a user and to a group of this name; write the name that your users log on with, or the denial has no effect")
	}
}

// rights returns the rights of a row that have a counterpart, and the names of those about
// sessions that have none.
func (o *object) rights() (rights connector.Right, unknown []string) {
	for _, v := range o.list("ExtendedRights") {
		s, ok := textOf(v, "RawIdentity", "Name")
		if !ok {
			o.wrong("ExtendedRights", v, "an extended right")
			continue
		}
		low := strings.ToLower(s)
		if !strings.HasPrefix(low, "ms-exch-") {
			continue
		}
		if x, err := connector.ParseRight(s); err == nil {
			rights |= x
			continue
		}
		for _, prefix := range []string{"ms-exch-smtp-", "ms-exch-accept-", "ms-exch-bypass-"} {
			if strings.HasPrefix(low, prefix) {
				unknown = append(unknown, s)
			}
		}
	}
	return rights, unknown
}

// everyRight reports whether a row without extended rights stands for all of them.
func (o *object) everyRight() bool {
	if v, _ := o.get("ExtendedRights"); !isNothing(v) {
		return false
	}
	for _, v := range o.list("AccessRights") {
		s, _ := scalar(v)
		if strings.EqualFold(s, "GenericAll") || strings.EqualFold(s, "ExtendedRight") {
			return true
		}
	}
	return false
}

// grant turns the sums into the grants of the connector: what is beyond its groups, and what is
// missing from them.
func (r *reader) grant(c *receive, e *entries) {
	for _, user := range e.users {
		r.explain(c, user, e.account(user))
	}
	e.sum()
	external := c.AuthMechanisms.Has(connector.ExternalAuthoritative)
	for _, p := range e.kinds {
		groups := c.groupRights(p)
		allowed, denied := e.allowed[p]&^groups, e.denied[p]
		if external != (p == connector.ExternallySecured) {
			if external && allowed != 0 && p != connector.Servers {
				r.note(c.o.label, "Permissions", string(p)+": "+allowed.String(), "left out: with ExternalAuthoritative every session is externally secured")
			}
			if external && denied != 0 {
				r.note(c.o.label, "Permissions", string(p)+": "+denied.String(), "this denial has no effect: with ExternalAuthoritative every session is externally secured")
			}
			// Without it nobody is; the group ExchangeServers always lists the rights all the same.
			continue
		}
		if p == connector.Servers && !c.AuthMechanisms.Has(connector.ExchangeServer) {
			continue // nobody is one
		}
		// A list of permissions may have been filtered. One with the right to submit is taken for whole: then what
		// the group would give and the list does not was taken away.
		if missing := groups &^ e.allowed[p]; isKind(p) && missing != 0 && e.allowed[p].Has(connector.Submit) && missing&^denied != 0 {
			r.note(c.o.label, "Permissions", string(p)+": "+(missing&^denied).String(), "part of the permission group, but not granted; denied here")
			denied |= missing
		}
		if allowed != 0 {
			c.Grants = append(c.Grants, connector.Grant{Principal: p, Rights: allowed})
		}
		if denied != 0 {
			c.Grants = append(c.Grants, connector.Grant{Principal: p, Rights: denied, Deny: true})
		}
	}
}

// isKind reports whether a principal is a kind of session and not a user or a group.
func isKind(p connector.Principal) bool {
	switch p {
	case connector.Anonymous, connector.Authenticated, connector.Servers, connector.ExternallySecured:
		return true
	}
	return false
}

// groupRights returns what the groups of the connector give to a principal.
func (c *receive) groupRights(p connector.Principal) connector.Right {
	peer := connector.Peer{
		Authenticated: p != connector.Anonymous && p != connector.ExternallySecured,
		Server:        p == connector.Servers, TLS: true,
	}
	groups := connector.Connector{PermissionGroups: c.PermissionGroups, AuthMechanisms: c.AuthMechanisms}
	return groups.Rights(peer)
}

// identity is what an account of the directory is here.
type identity struct {
	allow, deny []connector.Principal // whom a grant and a denial are for
	kind        bool                  // a kind of session, such as all that have not logged on
	member      bool                  // some of those that a permission group is for, which is what counts
}

// identityOf returns what an account stands for. A denial never reaches
// fewer sessions than it did, and a grant never more.
func identityOf(user string) identity {
	only := func(p connector.Principal) identity {
		return identity{allow: []connector.Principal{p}, deny: []connector.Principal{p}, kind: true}
	}
	low := strings.ToLower(user)
	switch low {
	// The names are those of Windows in English and German; the identifiers are the same everywhere.
	case `nt authority\anonymous logon`, `nt-autorität\anonymous-anmeldung`, "s-1-5-7":
		return only(connector.Anonymous)
	case `nt authority\authenticated users`, `nt-autorität\authentifizierte benutzer`, "s-1-5-11":
		return only(connector.Authenticated)
	case `ms exchange\externally secured servers`:
		return only(connector.ExternallySecured)
	case "everyone", "jeder", "s-1-1-0":
		return identity{deny: []connector.Principal{connector.Anonymous, connector.Authenticated, connector.Servers, connector.ExternallySecured}}
	case `ms exchange\hub transport servers`, `ms exchange\edge transport servers`:
		return identity{deny: []connector.Principal{connector.Servers}, member: true}
	case `ms exchange\partner servers`, `ms exchange\legacy exchange servers`:
		return identity{member: true}
	}
	switch domain, name, _ := strings.Cut(low, `\`); {
	case name == "exchange servers":
		return only(connector.Servers)
	case name == "exchangelegacyinterop":
		return identity{member: true}
	case strings.HasPrefix(low, "s-1-"), domain == "nt authority", domain == "nt-autorität", domain == "builtin":
		return identity{}
	}
	return identity{
		allow: []connector.Principal{connector.User(user)},
		deny:  []connector.Principal{connector.User(user), connector.Group(user)},
	}
}

func allRights() connector.Right {
	const last = connector.BypassMessageSizeLimit
	return last | (last - 1)
}
