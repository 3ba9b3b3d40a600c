package admin

import (
	"encoding/json"
	"html/template"
	"net/http"

	"github.com/postern-mail/postern/auth"
)

type handler struct {
	cfg         Config
	page        *template.Template
	policy      string       // Content-Security-Policy
	auth        *auth.Server // nil with Authorize
	crossOrigin *http.CrossOriginProtection
}

// respond writes JSON.
func (h *handler) respond(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		h.fail(w, err)
		return
	}
	write(w, status, contentType, append(body, '\n'))
}

func (h *handler) fail(w http.ResponseWriter, err error) {
	h.cfg.Logger.Error("answer not made", "err", err)
	http.Error(w, "Internal error.", http.StatusInternalServerError)
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}
