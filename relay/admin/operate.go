package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
)

// operation changes what an id names.
type operation struct {
	do   func(ctx context.Context, id string) error
	gone string // the answer if there is nothing of that id
	to   string // where the page shows what is left
}

// operations are by path.
func (h *handler) operations() map[string]operation {
	r := h.cfg.Relay
	poisoned := func(do func(ctx context.Context, id string) error) operation {
		return operation{
			do: func(ctx context.Context, id string) error {
				if err := h.checkPoisoned(ctx, id); err != nil {
					return err
				}
				return do(ctx, id)
			},
			gone: "No copy of such a message is set aside.", to: "./#poison",
		}
	}
	return map[string]operation{
		"/lift": {
			do:   func(_ context.Context, id string) error { return r.LiftThrottle(id) },
			gone: "There is no such throttle any more.", to: "./#throttles",
		},
		"/retry": poisoned(func(ctx context.Context, id string) error {
			return r.Reschedule(ctx, id, time.Now())
		}),
		"/remove": poisoned(func(ctx context.Context, id string) error {
			_, err := r.Cancel(ctx, id)
			return err
		}),
	}
}

// checkPoisoned refuses messages of which nothing is set aside: they are not
// this handler's.
func (h *handler) checkPoisoned(ctx context.Context, queueID string) error {
	s, err := h.cfg.Relay.Status(ctx, queueID)
	if err != nil {
		return err
	}
	for i := range s.Recipients {
		if s.Recipients[i].State == spool.StatePoison {
			return nil
		}
	}
	return relay.ErrNotFound
}

// operate does an operation for whoever may.
func (h *handler) operate(w http.ResponseWriter, r *http.Request, op operation) {
	b := h.readBody(w, r)
	if b == nil {
		return
	}
	if !h.mayOperate(r) {
		http.Error(w, "You may look, and change nothing.", http.StatusForbidden)
		return
	}
	id, err := idIn(b)
	if err != nil {
		http.Error(w, "The body names nothing by its id.", http.StatusBadRequest)
		return
	}
	switch err := op.do(r.Context(), id); {
	case errors.Is(err, relay.ErrNotFound):
		http.Error(w, op.gone, http.StatusNotFound)
	case errors.Is(err, relay.ErrUnderWay):
		http.Error(w, "An attempt is under way: try again later.", http.StatusConflict)
	case err != nil:
		h.fail(w, err)
	case b.json:
		w.WriteHeader(http.StatusNoContent)
	default:
		// Relative, as all links are. http.Redirect would make it absolute.
		w.Header().Set("Location", op.to)
		w.WriteHeader(http.StatusSeeOther)
	}
}

// mayOperate tells whether who looks may change something too.
func (h *handler) mayOperate(r *http.Request) bool {
	return h.cfg.Operate != nil && h.cfg.Operate(r)
}

var errNoID = errors.New("nothing is named")

// idIn is the id in a body.
func idIn(b *body) (string, error) {
	var asked struct {
		ID string `json:"id"`
	}
	err := b.read(&asked, func(name, value string) error {
		if name != "id" {
			return errNoID
		}
		asked.ID = value
		return nil
	})
	if err == nil && asked.ID == "" {
		err = errNoID
	}
	return asked.ID, err
}
