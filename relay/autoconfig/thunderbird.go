package autoconfig

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/domains"
)

// clientConfig is Mozilla's autoconfig file, version 1.1
// (https://wiki.mozilla.org/Thunderbird:Autoconfiguration:ConfigFileFormat).
type clientConfig struct {
	XMLName  xml.Name      `xml:"clientConfig"`
	Version  string        `xml:"version,attr"`
	Provider emailProvider `xml:"emailProvider"`
}

type emailProvider struct {
	ID        string       `xml:"id,attr"`
	Domain    string       `xml:"domain"`
	Name      string       `xml:"displayName"`
	ShortName string       `xml:"displayShortName"`
	Incoming  []mailServer `xml:"incomingServer"`
	Outgoing  []mailServer `xml:"outgoingServer"`
}

type mailServer struct {
	Type           Protocol `xml:"type,attr"`
	Hostname       string   `xml:"hostname"`
	Port           uint16   `xml:"port"`
	SocketType     string   `xml:"socketType"`
	Username       string   `xml:"username"`
	Authentication []string `xml:"authentication"` // the first that the program knows
}

// thunderbird answers with placeholders for the user, so the answer is the same for the whole domain.
func (h *Handler) thunderbird(w http.ResponseWriter, r *http.Request) {
	domain := requestHost(r)
	if email := query(r, "emailaddress"); email != "" {
		a, err := domains.Parse(email)
		if err != nil {
			http.Error(w, "emailaddress is not a mail address.", http.StatusBadRequest)
			return
		}
		domain = a.Domain()
	} else if parent, ok := strings.CutPrefix(domain, "autoconfig."); ok && h.serves(parent) {
		domain = parent
	}
	outgoing := h.submission()
	if !h.serves(domain) || len(outgoing) == 0 {
		unknownDomain(w)
		return
	}
	p := emailProvider{ID: domain, Domain: domain, Name: h.displayName(domain), ShortName: h.displayName(domain)}
	for _, s := range h.incoming() {
		p.Incoming = append(p.Incoming, h.mailServer(s))
	}
	for _, s := range outgoing {
		p.Outgoing = append(p.Outgoing, h.mailServer(s))
	}
	respondXML(w, clientConfig{Version: "1.1", Provider: p})
}

func (h *Handler) mailServer(s server) mailServer {
	m := mailServer{
		Type: s.protocol, Hostname: s.host, Port: s.port, SocketType: "STARTTLS",
		Username: "%EMAILADDRESS%", Authentication: authentication(s.mechanisms),
	}
	if s.implicit {
		m.SocketType = "SSL"
	}
	if h.opts.LocalPart {
		m.Username = "%EMAILLOCALPART%"
	}
	return m
}

// authentication returns the words of the format for mechanisms. Passwords come first, which are shown inside TLS only: every
// program knows them, while OAuth2 works where the program knows the provider, and should stand second.
// password-encrypted once meant CRAM-MD5 and DIGEST-MD5; draft-ietf-mailmaint-autoconfig adds SCRAM.
func authentication(mechanisms []auth.Mechanism) []string {
	var list []string
	for _, way := range []struct {
		word string
		by   []auth.Mechanism
	}{
		{"password-cleartext", []auth.Mechanism{auth.Plain, auth.Login}},
		{"password-encrypted", []auth.Mechanism{auth.ScramSHA256, auth.ScramSHA256Plus}},
		{"OAuth2", []auth.Mechanism{auth.OAuthBearer, auth.XOAuth2}},
		{"TLS-client-cert", []auth.Mechanism{auth.External}},
	} {
		if slices.ContainsFunc(way.by, func(m auth.Mechanism) bool { return slices.Contains(mechanisms, m) }) {
			list = append(list, way.word)
		}
	}
	return list
}
