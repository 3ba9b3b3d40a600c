package admin

import (
	"errors"
	"net/http"

	"github.com/postern-mail/postern/relay"
)

// lift ends a throttle.
func (h *handler) lift(w http.ResponseWriter, r *http.Request) {
	b := h.readBody(w, r)
	if b == nil {
		return
	}
	if !h.mayOperate(r) {
		http.Error(w, "You may look, and change nothing.", http.StatusForbidden)
		return
	}
	id, err := throttleIn(b)
	if err != nil {
		http.Error(w, "The body does not name a throttle.", http.StatusBadRequest)
		return
	}
	switch err := h.cfg.Relay.LiftThrottle(id); {
	case errors.Is(err, relay.ErrNotFound):
		http.Error(w, "There is no such throttle any more.", http.StatusNotFound)
	case err != nil:
		h.fail(w, err)
	case b.json:
		w.WriteHeader(http.StatusNoContent)
	default:
		// Relative, as all links are. http.Redirect would make it absolute.
		w.Header().Set("Location", "./#throttles")
		w.WriteHeader(http.StatusSeeOther)
	}
}

// mayOperate tells whether who looks may change something too.
func (h *handler) mayOperate(r *http.Request) bool {
	return h.cfg.Operate != nil && h.cfg.Operate(r)
}

var errNoThrottle = errors.New("no throttle is named")

// throttleIn is the id in a body.
func throttleIn(b *body) (string, error) {
	var asked struct {
		ID string `json:"id"`
	}
	err := b.read(&asked, func(name, value string) error {
		if name != "id" {
			return errNoThrottle
		}
		asked.ID = value
		return nil
	})
	if err == nil && asked.ID == "" {
		err = errNoThrottle
	}
	return asked.ID, err
}
