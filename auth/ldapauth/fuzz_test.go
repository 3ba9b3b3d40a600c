package ldapauth_test

import (
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/ldapauth"
)

// A name stays one value of a filter, and one of a DN, whatever is in it.
func FuzzName(f *testing.F) {
	for _, s := range []string{
		"anna", odd, "*", ")(", `\`, " a ", "#a", "a,b=c", "a+b=c", "\u0308", "{user}", `"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if prepared, err := auth.PrepareName(name); err != nil || prepared != name {
			return
		}
		packet, err := ldap.CompileFilter(
			ldapauth.Fill("(&(a=b)(uid={user}))", ldap.EscapeFilter(name)),
		)
		if err != nil {
			t.Fatal(err)
		}
		if len(packet.Children) != 2 || len(packet.Children[1].Children) != 2 ||
			packet.Children[1].Children[1].Data.String() != name {
			t.Errorf("%q in a filter", name)
		}
		dn, err := ldap.ParseDN(ldapauth.Fill("uid={user},dc=example", ldap.EscapeDN(name)))
		if err != nil {
			t.Fatal(err)
		}
		if len(dn.RDNs) != 2 || len(dn.RDNs[0].Attributes) != 1 ||
			dn.RDNs[0].Attributes[0].Value != name {
			t.Errorf("%q in a DN: %v", name, dn)
		}
	})
}

func FuzzSender(f *testing.F) {
	f.Add("smtp:anna@example.com")
	f.Add(`"*"@example.com`)
	f.Add("x500:/o=a")
	f.Fuzz(func(t *testing.T, value string) {
		address := ldapauth.Sender(value)
		if address == "" {
			return
		}
		id := &auth.Identity{Senders: []string{address}}
		if !id.MaySendAs(address) ||
			id.MaySendAs("other"+address[strings.LastIndexByte(address, '@'):]) &&
				!strings.HasPrefix(strings.ToLower(address), "other@") {
			t.Errorf("%q: %q", value, address)
		}
	})
}
