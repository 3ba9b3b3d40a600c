package exchange_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/connector/exchange"
)

// TestNeverMoreThanTheSource reads the connectors of many made-up
// organizations, and asks for strangers and users whether Exchange would have
// let them do what the connector does.
func TestNeverMoreThanTheSource(t *testing.T) {
	const organizations = 4000
	read := 0
	for seed := range uint64(organizations) {
		m := &organization{Rand: rand.New(rand.NewPCG(seed, 29))}
		m.make()
		d := m.dump()
		r, err := exchange.Read(d)
		if err != nil {
			continue
		}
		read++
		c := r.Connectors[0]
		source := m.rights(sidOfAnonymous) & m.rights(sidOfAnonymous, sidOfEveryone)
		if c.RequireTLS != m.requireTLS && !c.RequireTLS {
			t.Errorf("seed %d: TLS is no longer required", seed)
		}
		if more := c.Rights(connector.Subject{}) &^ source; more != 0 {
			t.Errorf("seed %d: strangers may %v as well\n%s\n%s", seed, more,
				d.ReceiveConnectors,
				d.Permissions)
		}
		for _, u := range m.users() {
			source := m.rights(u.token...)
			for _, peer := range []connector.Subject{
				{User: u.name}, {User: u.name, Groups: u.groups}, {User: "someone"},
				{User: "someone",
					Groups: u.groups},
			} {
				peer.Authenticated, peer.TLS = true, true
				if more := c.Rights(peer) &^ source; more != 0 {
					t.Errorf("seed %d: %+v may %v as well\n%s\n%s", seed, peer, more,
						d.ReceiveConnectors,
						d.Permissions)
				}
			}
		}
		partner := connector.Subject{TLS: true, Names: []string{"mail.fabrikam.example"}}
		if more := c.Rights(partner) &^ source; more != 0 {
			t.Errorf("seed %d: a partner may %v", seed, more)
		}
		if t.Failed() {
			return
		}
	}
	if read < organizations/4 {
		t.Errorf("only %d of %d organizations could be read", read, organizations)
	}
}

const (
	sidOfEveryone  = "S-1-1-0"
	sidOfAnonymous = "S-1-5-7"
	sidOfUsers     = "S-1-5-11"
	sidOfDomain    = "S-1-5-21-10-20-30-"
)

// entry is an entry of a connector's access control list.
type entry struct {
	sid                    string
	rights                 connector.Right
	deny, inherited, below bool
}

// organization is a directory with one receive connector.
type organization struct {
	*rand.Rand
	list       []entry
	presets    []entry
	groups     connector.PermissionGroup
	requireTLS bool
}

// directory returns the names of accounts, the first in English, by identifier.
func directory() map[string][]string {
	return map[string][]string{
		sidOfAnonymous: {`NT AUTHORITY\ANONYMOUS LOGON`, `NT-AUTORITÄT\ANONYMOUS-ANMELDUNG`,
			`AUTORITE NT\ANONYMOUS LOGON`, `NT AUTHORITY\ACCESSO ANONIMO`},
		sidOfUsers: {`NT AUTHORITY\Authenticated Users`,
			`NT-AUTORITÄT\Authentifizierte Benutzer`, `AUTORITE NT\Utilisateurs authentifiés`},
		sidOfEveryone:        {"Everyone", "Jeder", "Tout le monde"},
		"S-1-5-2":            {`NT AUTHORITY\NETWORK`, `AUTORITE NT\RESEAU`},
		"S-1-5-32-545":       {`BUILTIN\Users`, `VORDEFINIERT\Benutzer`},
		sidOfDomain + "513":  {`CONTOSO\Domain Users`, `CONTOSO\Domänen-Benutzer`},
		sidOfDomain + "1104": {`CONTOSO\anna`},
		sidOfDomain + "1105": {`CONTOSO\bert`},
		sidOfDomain + "1200": {`CONTOSO\guests`},
		sidOfDomain + "1201": {`CONTOSO\staff`},
		sidOfDomain + "1118": {`CONTOSO\Exchange Servers`},
	}
}

type user struct {
	name          string
	token, groups []string
}

func (m *organization) users() []user {
	all := []string{sidOfUsers, sidOfEveryone, "S-1-5-2", "S-1-5-32-545", sidOfDomain + "513"}
	return []user{
		{`CONTOSO\anna`, append([]string{sidOfDomain + "1104", sidOfDomain + "1201"}, all...),
			[]string{`CONTOSO\staff`}},
		{`CONTOSO\bert`, append([]string{sidOfDomain + "1105", sidOfDomain + "1200"}, all...),
			[]string{`CONTOSO\guests`}},
	}
}

// make fills the access control list as the permission groups do, and then as
// an administrator might.
func (m *organization) make() {
	m.requireTLS = m.IntN(2) == 0
	m.groups = connector.PermissionGroup(m.IntN(4)) // strangers, users
	if m.IntN(2) == 0 {
		m.groups |= connector.Partners
	}
	if m.groups.Has(connector.AnonymousUsers) {
		m.presets = append(m.presets, entry{sid: sidOfAnonymous,
			rights: connector.AnonymousUsers.Rights()})
	}
	if m.groups.Has(connector.ExchangeUsers) {
		m.presets = append(
			m.presets, entry{sid: sidOfUsers, rights: connector.ExchangeUsers.Rights()},
		)
	}
	m.list = slices.Clone(m.presets)
	accounts := slices.Sorted(maps.Keys(directory()))
	for range m.IntN(4) {
		some, others := connector.Right(m.IntN(1<<10)), connector.Right(m.IntN(1<<10))
		m.list = append(m.list, entry{
			sid:    accounts[m.IntN(len(accounts))],
			rights: some & others, // a quarter of them
			deny:   m.IntN(2) == 0, inherited: m.IntN(4) == 0, below: m.IntN(8) == 0,
		})
	}
	if len(m.list) > 0 && m.IntN(4) == 0 { // Remove-ADPermission
		i := m.IntN(len(m.list))
		m.list[i].rights &^= connector.Right(m.IntN(1 << 10))
	}
	m.list = slices.DeleteFunc(m.list, func(e entry) bool { return e.rights == 0 })
}

// rights returns what Windows gives to a token: for each right the first entry
// counts, where denials come first and what is inherited last.
func (m *organization) rights(token ...string) connector.Right {
	var allowed, decided connector.Right
	for _, inherited := range []bool{false, true} {
		for _, deny := range []bool{true, false} {
			for _, e := range m.list {
				if e.below || e.inherited != inherited || e.deny != deny ||
					!slices.Contains(token, e.sid) {
					continue
				}
				if !deny {
					allowed |= e.rights &^ decided
				}
				decided |= e.rights
			}
		}
	}
	return allowed
}

// shown returns PermissionGroups: the groups whose members have all the rights,
// and Custom when there is more or less to say.
func (m *organization) shown() string {
	groups := connector.PermissionGroup(0)
	for g, sid := range map[connector.PermissionGroup]string{
		connector.AnonymousUsers: sidOfAnonymous,
		connector.ExchangeUsers:  sidOfUsers} {
		if m.rights(sid).Has(g.Rights()) {
			groups |= g
		}
	}
	groups |= m.groups & connector.Partners
	s := groups.String()
	if !slices.Equal(m.list, m.presets) {
		if s += ", Custom"; groups == 0 {
			s = "Custom"
		}
	}
	return s
}

// dump prints the organization as a shell does, with an identifier or without.
func (m *organization) dump() exchange.Dump {
	pick := func(forms ...any) any { return forms[m.IntN(len(forms))] }
	var rows []map[string]any
	named := pick(true, true, true, false).(bool)
	for _, e := range m.list {
		names := directory()[e.sid]
		name := names[m.IntN(len(names))]
		row := map[string]any{
			"Identity": `EX01\Relay`, "User": pick(name, map[string]any{"RawIdentity": name,
				"SecurityIdentifier": nil}),
			"Deny": pick(
				e.deny, fmt.Sprint(e.deny), map[string]any{"IsPresent": e.deny},
			),
			"IsInherited":     e.inherited,
			"InheritanceType": "All", "AccessRights": pick([]any{"ExtendedRight"}, []any{256},
				"ExtendedRight"),
			"ExtendedRights": m.printed(e.rights),
		}
		if e.below {
			row["InheritanceType"] = pick("Descendents", "Children", 2, 4)
		}
		if named {
			sid := map[string]any{"BinaryLength": 28,
				"AccountDomainSid": map[string]any{"Value": sidOfDomain + "1"}, "Value": e.sid}
			switch m.IntN(3) {
			case 0:
				row["User"] = map[string]any{"RawIdentity": name, "SecurityIdentifier": sid}
			case 1:
				row["User"] = e.sid
			default:
				row["Sid"] = e.sid
			}
		}
		if e.deny && e.rights == 1<<10-1 {
			row["ExtendedRights"] = nil
		}
		rows = append(rows, row)
	}
	if m.IntN(2) == 0 {
		rows = append(rows, map[string]any{"Identity": `EX01\Relay`,
			"User": `CONTOSO\Organization Management`, "AccessRights": "GenericAll", "Deny": false,
			"IsInherited": true})
	}
	m.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	c := map[string]any{
		"Name": "Relay", "Identity": `EX01\Relay`, "Server": "EX01",
		"Bindings":         []string{"0.0.0.0:25"},
		"RemoteIPRanges":   []string{"10.0.0.0/24"},
		"AuthMechanism":    "Tls, BasicAuth, BasicAuthRequireTLS",
		"PermissionGroups": m.shown(),
		"RequireTLS":       m.requireTLS, "Enabled": true, "TransportRole": "FrontendTransport",
		"DomainSecureEnabled": m.IntN(2) == 0,
	}
	d := exchange.Dump{ReceiveConnectors: text(c), Permissions: text(rows)}
	if m.IntN(10) == 0 {
		d.Permissions = nil
	}
	return d
}

// printed returns a list of rights in one of its forms.
func (m *organization) printed(rights connector.Right) any {
	var list []any
	for bit := connector.Submit; bit <= connector.BypassMessageSizeLimit; bit <<= 1 {
		if rights.Has(bit) {
			list = append(list, bit.String())
		}
	}
	switch m.IntN(3) {
	case 0:
		return list
	case 1:
		for i, s := range list {
			list[i] = map[string]any{"RawIdentity": s, "Name": s}
		}
		return list
	}
	return fmt.Sprintln(list...)
}

func text(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
