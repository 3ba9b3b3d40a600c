package autoconfig

import (
	"errors"
	"net/http"
	"strings"

	"github.com/postern-mail/postern/relay"
)

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

// stsHost is where the policy of a domain is looked for (RFC 8461 section 3.3).
const stsHost = "mta-sts."

func (h *Handler) sts(w http.ResponseWriter, r *http.Request) {
	domain, ok := strings.CutPrefix(requestHost(r), stsHost)
	if h.opts.STS == nil || !ok || !h.serves(domain) {
		unknownDomain(w)
		return
	}
	respond(w, http.StatusOK, typeText, []byte(h.opts.STS.policy()))
}
