package autoconfig

import (
	"encoding/xml"
	"net"
	"net/http"
	"strings"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
)

// Handler answers the requests of mail programs for their settings. Make one
// with [New]. It is safe for concurrent use.
type Handler struct {
	relay *relay.Relay
	opts  Options
	table *domains.Table // of Options.Domains; nil for the relay's own
}

const (
	typeXML     = "application/xml; charset=utf-8"
	typeJSON    = "application/json; charset=utf-8"
	typeText    = "text/plain; charset=utf-8"
	typeProfile = "application/x-apple-aspen-config"
)

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, "Method not allowed.", http.StatusMethodNotAllowed)
}

func unknownDomain(w http.ResponseWriter) {
	http.Error(w, "There are no settings for this domain.", http.StatusNotFound)
}

// query returns a parameter, whose name may be in any mix of capitals.
func query(r *http.Request, name string) string {
	for k, v := range r.URL.Query() {
		if strings.EqualFold(k, name) {
			return v[0]
		}
	}
	return ""
}

// requestHost returns the host a request is for, in the form of
// [domains.Address.Domain].
func requestHost(r *http.Request) string {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	d, err := hostname(host)
	if err != nil {
		return ""
	}
	return d
}

// serves reports whether there are settings for a domain, in the form of
// [domains.Address.Domain].
func (h *Handler) serves(domain string) bool {
	if strings.HasPrefix(domain, "[") {
		return false // mail programs take domains only
	}
	table := h.table
	if table == nil {
		table = h.relay.AcceptedDomains()
	}
	_, ok := table.Lookup(domain)
	return ok
}

func (h *Handler) displayName(domain string) string {
	if h.opts.DisplayName != "" {
		return h.opts.DisplayName
	}
	return domain
}

// loginName is what the owner of an address logs on with.
func (h *Handler) loginName(a domains.Address) string {
	if h.opts.LocalPart {
		return a.Local()
	}
	return a.String()
}

// respond writes an answer of one type.
func respond(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

// respondXML writes v, which the package made and which can always be
// marshalled.
func respondXML(w http.ResponseWriter, v any) {
	body, err := xml.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "Internal error.", http.StatusInternalServerError)
		return
	}
	respond(w, http.StatusOK, typeXML, append(append([]byte(xml.Header), body...), '\n'))
}
