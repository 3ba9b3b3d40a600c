package admin

import (
	"context"
	"errors"
	"time"

	"github.com/postern-mail/postern/relay"
)

const (
	maxPoison  = 20
	poisonWait = 5 * time.Second // for the store, which may look at all it has
)

// poison is what is set aside, because attempts at it crash.
type poison struct {
	Copies int `json:"copies"`
	list[aside]
}

// aside is a message of which copies are set aside.
type aside struct {
	QueueID  string    `json:"queue_id"`
	Stream   string    `json:"stream"`
	Accepted time.Time `json:"accepted"`
	Copies   int       `json:"copies"`
	Crashes  int       `json:"crashes"`
}

// poison asks the store; nil if it cannot tell.
func (h *handler) poison(ctx context.Context) *poison {
	ctx, cancel := context.WithTimeout(ctx, poisonWait)
	defer cancel()
	all, err := h.cfg.Relay.Poisoned(ctx)
	if err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			h.cfg.Logger.Error("what is set aside is not known", "err", err)
		}
		return nil
	}
	p := &poison{list: first(maxPoison, all, showAside)}
	for _, s := range all {
		p.Copies += len(s.Recipients)
	}
	return p
}

func showAside(s *relay.Status) aside {
	shown := aside{
		QueueID: s.QueueID, Stream: s.Stream, Accepted: s.Accepted.UTC(),
		Copies: len(s.Recipients),
	}
	for i := range s.Recipients {
		shown.Crashes = max(shown.Crashes, s.Recipients[i].Crashes)
	}
	return shown
}
