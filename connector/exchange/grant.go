package exchange

import (
	"strconv"
	"strings"

	"github.com/postern-mail/postern/connector"
)

// rights returns the rights of a row that have a counterpart, and the names of
// those about sessions that have none.
func (o *object) rights() (rights connector.Right, unknown []string) {
	for _, v := range o.list("ExtendedRights") {
		s, ok := textOf(v, "RawIdentity", "Name")
		if !ok {
			o.wrong("ExtendedRights", v, "an extended right")
			continue
		}
		low := strings.ToLower(s)
		if !strings.HasPrefix(low, "ms-exch-") {
			if isUnclear(s) {
				unknown = append(unknown, s)
			}
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

// isUnclear reports whether a text that is none of our rights may mean one all
// the same: a number, a translation, or a name that was cut off. Names of
// rights of the directory are words with hyphens between them, such as Send-As;
// the rights of Exchange's servers to their own protocols have names of their
// own.
func isUnclear(s string) bool {
	low := strings.ToLower(s)
	if strings.HasPrefix(low, "ms-exch-") {
		return !strings.HasPrefix(low, "ms-exch-smtp-accept-x") && !strings.HasPrefix(low,
			"ms-exch-smtp-send-") &&
			low != "ms-exch-smtp-accept-exch50"
	}
	guid := len(s) == 36 && strings.Count(s, "-") == 4
	return guid || !strings.Contains(s, "-") || strings.ContainsAny(s, " {}")
}

// everyRight reports whether a row without extended rights stands for all of
// them.
func (o *object) everyRight() bool {
	if v, _ := o.get("ExtendedRights"); !isNothing(v) {
		return false
	}
	const extendedRight = 0x100 // its bit, which GenericAll has as well
	for _, v := range o.list("AccessRights") {
		s, _ := scalar(v)
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && n&extendedRight != 0 {
			return true
		}
		for w := range strings.FieldsFuncSeq(s, isSeparator) {
			if strings.EqualFold(w, "GenericAll") || strings.EqualFold(w, "ExtendedRight") {
				return true
			}
		}
	}
	return false
}

// grant turns the sums into the grants of the connector: what is beyond its
// groups, and what is missing from them.
func (r *reader) grant(c *receive, e *entries) {
	for _, a := range e.order {
		r.explain(c, a)
	}
	e.sum()
	external := c.AuthMechanisms.Has(connector.ExternalAuthoritative)
	for _, p := range e.kinds {
		groups := c.groupRights(p)
		allowed, denied := e.allowed[p]&^groups, e.denied[p]
		if external != (p == connector.ExternallySecured) {
			if external && allowed != 0 && p != connector.Servers {
				r.note(
					c.o.label, "Permissions", string(p)+": "+allowed.String(),
					"left out: with ExternalAuthoritative every session is externally secured",
				)
			}
			if external && denied != 0 {
				r.note(
					c.o.label, "Permissions", string(p)+": "+denied.String(),
					"this denial has no effect: with ExternalAuthoritative every session is "+
						"externally secured",
				)
			}
			// Without it nobody is; the group ExchangeServers always lists the
			// rights all the same.
			continue
		}
		if p == connector.Servers && !c.AuthMechanisms.Has(connector.ExchangeServer) {
			continue // nobody is one
		}
		// A list of permissions may have been filtered. One with the right to
		// submit is taken for whole: then what the group would give and the
		// list does not was taken away.
		if missing := groups &^ e.allowed[p]; isKind(p) && missing != 0 &&
			e.allowed[p].Has(connector.Submit) && missing&^denied != 0 {
			r.note(
				c.o.label, "Permissions", string(p)+": "+(missing&^denied).String(),
				"part of the permission group, but not granted; denied here",
			)
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

// isKind reports whether a principal is a kind of session and not a user or a
// group.
func isKind(p connector.Principal) bool {
	switch p {
	case connector.Anonymous, connector.Authenticated, connector.Servers,
		connector.ExternallySecured:
		return true
	}
	return false
}

// groupRights returns what the groups of the connector give to a principal.
func (c *receive) groupRights(p connector.Principal) connector.Right {
	peer := connector.Subject{
		Authenticated: p != connector.Anonymous && p != connector.ExternallySecured,
		Server:        p == connector.Servers, TLS: true,
	}
	groups := connector.Connector{
		PermissionGroups: c.PermissionGroups, AuthMechanisms: c.AuthMechanisms,
	}
	return groups.Rights(peer)
}

func allRights() connector.Right {
	const last = connector.BypassMessageSizeLimit
	return last | (last - 1)
}
