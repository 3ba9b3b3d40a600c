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

// thunderbird answers with placeholders for the user, so the answer is the same
// for the whole domain.
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
	incoming, outgoing := h.mailServers(h.incoming()), h.mailServers(h.submission())
	// Thunderbird and K-9 reject a file without a server of either kind.
	if !h.serves(domain) || len(incoming) == 0 || len(outgoing) == 0 {
		unknownDomain(w)
		return
	}
	respondXML(w, clientConfig{Version: "1.1", Provider: emailProvider{
		ID: domain, Domain: domain, Name: h.displayName(domain), ShortName: h.displayName(domain),
		Incoming: incoming, Outgoing: outgoing,
	}})
}

// mailServers leaves out those which the format has no word to log on to.
func (h *Handler) mailServers(servers []server) []mailServer {
	var list []mailServer
	for _, s := range servers {
		words := authentication(s.mechanisms)
		if len(words) == 0 {
			continue
		}
		m := mailServer{
			Type: s.protocol, Hostname: s.host, Port: s.port, SocketType: "STARTTLS",
			Username: "%EMAILADDRESS%", Authentication: words,
		}
		if s.implicit {
			m.SocketType = "SSL"
		}
		if h.opts.LocalPart {
			m.Username = "%EMAILLOCALPART%"
		}
		list = append(list, m)
	}
	return list
}

// authentication returns the words of the format for mechanisms. Passwords come
// first, which are shown inside TLS only: every program knows them, while
// OAuth2 works where the program knows the provider, and should stand second.
// draft-ietf-mailmaint-autoconfig has words for SCRAM and certificates, which
// mislead programs: to them password-encrypted means CRAM-MD5, and they do not
// know TLS-client-cert.
func authentication(mechanisms []auth.Mechanism) []string {
	var list []string
	for _, way := range []struct {
		word string
		by   []auth.Mechanism
	}{
		{"password-cleartext", []auth.Mechanism{auth.Plain, auth.Login}},
		{"OAuth2", []auth.Mechanism{auth.OAuthBearer, auth.XOAuth2}},
	} {
		if slices.ContainsFunc(way.by, func(m auth.Mechanism) bool {
			return slices.Contains(mechanisms, m)
		}) {
			list = append(list, way.word)
		}
	}
	return list
}
