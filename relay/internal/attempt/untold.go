package attempt

import (
	"sync"
	"sync/atomic"

	"github.com/postern-mail/postern/relay/event"
)

// maxUntold bounds the events that wait for a step: as many as there are
// throttles at most.
const maxUntold = 1024

// untold are events of throttles whose step failed. They wait for the next.
type untold struct {
	some atomic.Bool // nothing is locked while there are none

	mu   sync.Mutex
	list []event.Event
}

// add keeps events; of too many the oldest are lost.
func (u *untold) add(events []event.Event) {
	if len(events) == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = append(u.list, events...)
	u.list = u.list[max(len(u.list)-maxUntold, 0):]
	u.some.Store(true)
}

// take returns what waits. Whoever cannot tell of it adds it again.
func (u *untold) take() []event.Event {
	if !u.some.Load() {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	list := u.list
	u.list = nil
	u.some.Store(false)
	return list
}
