package exchange

import (
	"strconv"
	"strings"

	"github.com/postern-mail/postern/connector"
)

// Security identifiers that are the same in every directory. Those of the
// authority 9 are Exchange's own (Microsoft, "Exchange 2013 deployment
// permissions reference").
const (
	sidEveryone      = "S-1-1-0"
	sidAnonymous     = "S-1-5-7"
	sidAuthenticated = "S-1-5-11"
	sidAccounts      = "S-1-5-21-" // of the accounts of a domain
	sidExchange      = "S-1-9-1419165041-1139599005-3936102811-1022490595-"
	sidPartners      = sidExchange + "10"
	sidHub           = sidExchange + "21"
	sidEdge          = sidExchange + "22"
	sidExternal      = sidExchange + "23"
	sidLegacy        = sidExchange + "24"
)

// wellKnown returns the identifier of an account that has the same name in
// many directories, or nothing. Windows translates its names; those of other
// languages than these two are not guessed, since any of them may be the name
// of a user elsewhere.
func wellKnown(name string) string {
	switch strings.ToLower(name) {
	case "everyone", "jeder":
		return sidEveryone
	case `nt authority\anonymous logon`, `nt-autorität\anonymous-anmeldung`:
		return sidAnonymous
	case `nt authority\authenticated users`, `nt-autorität\authentifizierte benutzer`:
		return sidAuthenticated
	case `ms exchange\partner servers`:
		return sidPartners
	case `ms exchange\hub transport servers`:
		return sidHub
	case `ms exchange\edge transport servers`:
		return sidEdge
	case `ms exchange\externally secured servers`:
		return sidExternal
	case `ms exchange\legacy exchange servers`:
		return sidLegacy
	}
	return ""
}

// parseSID returns a security identifier in the one form that Windows prints.
func parseSID(s string) (string, bool) {
	s = strings.ToUpper(s)
	rest, ok := strings.CutPrefix(s, "S-1-")
	parts := strings.Split(rest, "-")
	if !ok || len(parts) < 2 || len(parts) > 16 {
		return "", false
	}
	for _, p := range parts {
		if n, err := strconv.ParseUint(p, 10, 48); err != nil || strconv.FormatUint(n, 10) != p {
			return "", false
		}
	}
	return s, true
}

// account returns the name and the identifier of the account that a row is
// about. The identifier is empty if the row has none. It reports false after a
// fault.
func (o *object) account() (name, sid string, ok bool) {
	name = o.text("User", "RawIdentity", "SecurityIdentifier")
	if name == "" {
		o.fault("User", "missing; select User as well")
		return "", "", false
	}
	sid = wellKnown(name)
	ok = true
	say := func(field, text string) {
		id, valid := parseSID(text)
		switch {
		case !valid:
			o.fault(field, "%q is not a security identifier such as S-1-5-7", oneLine(text))
			ok = false
		case sid != "" && sid != id:
			o.fault(field, "%s contradicts %s, which is %s", id, oneLine(name), sid)
			ok = false
		default:
			sid = id
		}
	}
	if strings.HasPrefix(strings.ToUpper(name), "S-1-") {
		say("User", name)
	}
	user, _ := o.get("User")
	if m, isMap := user.(map[string]any); isMap {
		o.identifier("User", member(m, "SecurityIdentifier"), say)
	}
	for _, column := range []string{"Sid", "UserSid", "SecurityIdentifier"} {
		v, _ := o.get(column)
		o.identifier(column, v, say)
	}
	return name, sid, ok
}

// identifier says what a value holds that is an identifier, if it is not empty.
func (o *object) identifier(field string, v any, say func(field, text string)) {
	if isNothing(v) {
		return
	}
	text, ok := textOf(v, "Value")
	if !ok {
		text = show(v)
	}
	say(field, text)
}

// isExchangeGroup reports whether an account is one of the groups that the
// setup of Exchange makes, whose names it does not translate.
func isExchangeGroup(account string) bool {
	switch strings.ToLower(account) {
	case "exchange servers", "exchange trusted subsystem", "exchange windows permissions",
		"exchangelegacyinterop",
		"organization management", "view-only organization management", "public folder management",
		"recipient management", "server management", "delegated setup":
		return true
	}
	return false
}

// domainsOf returns the domains of the directory that the rows prove: those
// which hold a group of Exchange's. No authority of Windows does, in whatever
// language.
func domainsOf(rows []*object) map[string]bool {
	known := map[string]bool{}
	for _, o := range rows {
		name, _ := textOf(o.values["user"], "RawIdentity", "Value")
		if domain, account, ok := strings.Cut(name, `\`); ok && domain != "" &&
			isExchangeGroup(account) {
			known[strings.ToLower(domain)] = true
		}
	}
	return known
}

// identity is what an account of the directory is here.
type identity struct {
	allow, deny []connector.Principal // whom a grant and a denial are for
	kind        bool                  // a kind of session, such as all strangers
	member      bool                  // its permission group is what counts
}

func everybody() []connector.Principal {
	return []connector.Principal{connector.Anonymous, connector.Authenticated, connector.Servers,
		connector.ExternallySecured}
}

// identityOf returns what an account stands for. It reports false for one that
// nobody can place: without an identifier a name may be anybody's, unless it
// is that of an account in a known domain.
//
// A denial never reaches fewer sessions than it did, and a grant never more.
// Whom an account of the directory means among the users who log on here, and
// who is in a group, the dump does not tell: a denial is for all of them.
func identityOf(name, sid string, known map[string]bool) (identity, bool) {
	loggedOn := []connector.Principal{connector.Authenticated, connector.Servers}
	switch sid {
	case sidAnonymous:
		return only(connector.Anonymous), true
	case sidAuthenticated:
		return identity{allow: loggedOn[:1], deny: loggedOn, kind: true}, true
	case sidExternal:
		return only(connector.ExternallySecured), true
	case sidHub, sidEdge:
		return identity{deny: []connector.Principal{connector.Servers}, member: true}, true
	case sidPartners, sidLegacy:
		return identity{member: true}, true // nobody is one here
	}
	domain, account, _ := strings.Cut(strings.ToLower(name), `\`)
	switch {
	case sid != "" && !strings.HasPrefix(sid, sidAccounts):
		return identity{deny: everybody()}, true
	case account == "exchange servers":
		return only(connector.Servers), true
	case account == "exchangelegacyinterop":
		return identity{member: true}, true
	case account == "" && sid != "": // the name is missing
		return identity{deny: loggedOn}, true
	case sid == "" && !known[domain]:
		return identity{}, false
	}
	return identity{
		allow: []connector.Principal{connector.User(name)},
		deny: append(
			[]connector.Principal{connector.User(name), connector.Group(name)}, loggedOn...,
		),
	}, true
}

func only(p connector.Principal) identity {
	return identity{allow: []connector.Principal{p}, deny: []connector.Principal{p}, kind: true}
}
