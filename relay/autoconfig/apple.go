package autoconfig

import (
	"bytes"
	"crypto/sha1"
	"encoding/xml"
	"fmt"
	"net/http"

	"github.com/postern-mail/postern/domains"
)

// profile answers with a configuration profile that holds one mail account
// (https://developer.apple.com/documentation/devicemanagement/mail). The device
// asks for the passwords.
func (h *Handler) profile(w http.ResponseWriter, r *http.Request) {
	a, err := domains.Parse(query(r, "email"))
	if err != nil {
		http.Error(w, "email is not a mail address.", http.StatusBadRequest)
		return
	}
	incoming, outgoing := withPasswords(h.incoming()), withPasswords(h.submission())
	// A mail account without an incoming server is not valid.
	if !h.serves(a.Domain()) || len(incoming) == 0 || len(outgoing) == 0 {
		unknownDomain(w)
		return
	}
	w.Header().Set("Content-Disposition", `attachment; filename="email.mobileconfig"`)
	respond(w, http.StatusOK, typeProfile, h.plist(a, incoming[0], outgoing[0]))
}

// plist writes the profile. Profiles replace one another by identifier and
// accounts by UUID, so both follow from the address.
func (h *Handler) plist(a domains.Address, in, out server) []byte {
	name := h.displayName(a.Domain())
	organization := h.opts.Organization
	if organization == "" {
		organization = name
	}
	kind := "EmailTypeIMAP"
	if in.protocol == POP3 {
		kind = "EmailTypePOP"
	}
	id := uuid5(h.opts.Identifier + "/" + a.Key())
	identifier := h.opts.Identifier + "." + id
	account := dict{
		{"EmailAccountDescription", name},
		{"EmailAccountType", kind},
		{"EmailAddress", a.String()},
		{"IncomingMailServerAuthentication", "EmailAuthPassword"},
		{"IncomingMailServerHostName", in.host},
		{"IncomingMailServerPortNumber", in.port},
		{"IncomingMailServerUseSSL", true},
		{"IncomingMailServerUsername", h.loginName(a)},
		{"OutgoingMailServerAuthentication", "EmailAuthPassword"},
		{"OutgoingMailServerHostName", out.host},
		{"OutgoingMailServerPortNumber", out.port},
		{"OutgoingMailServerUseSSL", true}, // STARTTLS as well
		{"OutgoingMailServerUsername", h.loginName(a)},
		{"OutgoingPasswordSameAsIncomingPassword", true},
		{"PayloadDisplayName", name},
		{"PayloadIdentifier", identifier + ".account"},
		{"PayloadOrganization", organization},
		{"PayloadType", "com.apple.mail.managed"},
		{"PayloadUUID", uuid5(h.opts.Identifier + "/" + a.Key() + "/account")},
		{"PayloadVersion", uint16(1)},
	}
	profile := dict{
		{"PayloadContent", []dict{account}},
		{"PayloadDescription", "Sets up the mail account " + a.String() + "."},
		{"PayloadDisplayName", name},
		{"PayloadIdentifier", identifier},
		{"PayloadOrganization", organization},
		{"PayloadRemovalDisallowed", false},
		{"PayloadType", "Configuration"},
		{"PayloadUUID", id},
		{"PayloadVersion", uint16(1)},
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	b.WriteString(
		`<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">` + "\n",
	)
	b.WriteString("<plist version=\"1.0\">\n")
	profile.write(&b)
	b.WriteString("</plist>\n")
	return b.Bytes()
}

// dict is a dictionary of a property list.
type dict []entry

type entry struct {
	key   string
	value any // string, bool, uint16 or []dict
}

func (d dict) write(b *bytes.Buffer) {
	b.WriteString("<dict>\n")
	for _, e := range d {
		b.WriteString("<key>" + e.key + "</key>\n")
		switch v := e.value.(type) {
		case string:
			b.WriteString("<string>")
			_ = xml.EscapeText(b, []byte(v)) // a buffer takes everything
			b.WriteString("</string>\n")
		case bool:
			fmt.Fprintf(b, "<%t/>\n", v)
		case uint16:
			fmt.Fprintf(b, "<integer>%d</integer>\n", v)
		case []dict:
			b.WriteString("<array>\n")
			for _, sub := range v {
				sub.write(b)
			}
			b.WriteString("</array>\n")
		}
	}
	b.WriteString("</dict>\n")
}

// uuid5 derives a UUID from a name below the DNS name space (RFC 9562 section
// 5.5).
func uuid5(name string) string {
	space := [16]byte{
		0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30,
		0xc8,
	}
	sum := sha1.Sum(append(space[:], name...))
	u := sum[:16]
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
