package autoconfig

import (
	"encoding/xml"
	"errors"
	"net"
	"net/http"
	"net/netip"
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

// New makes a handler for a relay. The error holds every fault of the
// options, joined with [errors.Join], each a *[postern.FieldError].
func New(r *relay.Relay, opts *Options) (*Handler, error) {
	if r == nil {
		return nil, errors.New("autoconfig: a relay is required")
	}
	h := &Handler{relay: r}
	if opts != nil {
		h.opts = *opts
	}
	var err error
	if h.table, err = h.opts.check(r); err != nil {
		return nil, err
	}
	return h, nil
}

const (
	typeXML     = "application/xml; charset=utf-8"
	typeJSON    = "application/json; charset=utf-8"
	typeText    = "text/plain; charset=utf-8"
	typeProfile = "application/x-apple-aspen-config"
)

const (
	pathWellKnown  = "/.well-known/autoconfig/mail/config-v1.1.xml"
	pathAutoconfig = "/mail/config-v1.1.xml"
	pathPOX        = "/autodiscover/autodiscover.xml"
	pathJSON       = "/autodiscover/autodiscover.json"
	pathJSONUser   = "/autodiscover/autodiscover.json/v1.0/" // an address follows
	pathProfile    = "/email.mobileconfig"
	pathSTS        = "/.well-known/mta-sts.txt"
)

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'")
	header.Set("Cache-Control", "no-store")
	if !h.opts.Secure(r) {
		http.Error(w, "Settings are given out over HTTPS only.", http.StatusForbidden)
		return
	}
	path := r.URL.Path
	switch {
	case strings.EqualFold(path, pathWellKnown), strings.EqualFold(path, pathAutoconfig):
		read(w, r, h.thunderbird)
	case strings.EqualFold(path, pathPOX):
		h.outlook(w, r)
	case strings.EqualFold(path, pathJSON):
		read(w, r, func(w http.ResponseWriter, r *http.Request) {
			h.outlookJSON(w, r, query(r, "Email"))
		})
	case len(path) > len(pathJSONUser) && strings.EqualFold(path[:len(pathJSONUser)], pathJSONUser):
		read(w, r, func(w http.ResponseWriter, r *http.Request) {
			h.outlookJSON(w, r, path[len(pathJSONUser):])
		})
	case strings.EqualFold(path, pathProfile):
		read(w, r, h.profile)
	case strings.EqualFold(path, pathSTS):
		read(w, r, h.sts)
	default:
		http.NotFound(w, r)
	}
}

// read lets GET and HEAD through.
func read(w http.ResponseWriter, r *http.Request, f http.HandlerFunc) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		notAllowed(w, "GET, HEAD")
		return
	}
	f(w, r)
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, "Method not allowed.", http.StatusMethodNotAllowed)
}

func unknownDomain(w http.ResponseWriter) {
	http.Error(w, "There are no settings for this domain.", http.StatusNotFound)
}

// secure is the default of Options.Secure.
func secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	if p := r.Header.Get("X-Forwarded-Proto"); p != "" && !strings.EqualFold(p, "https") {
		return false
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
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
