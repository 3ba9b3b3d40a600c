package pgspool

import (
	"container/list"
	"sync"

	"github.com/postern-mail/postern/relay/spool"
)

var _ spool.Recaller = (*Store)(nil)

// Recall returns the content of a message that this store has committed a short
// while ago, as far as [Options].RecentBytes reach, and nil of any other. It
// never asks the server.
func (s *Store) Recall(id spool.ID) []byte { return s.recent.get(id) }

// recent keeps the content of messages that this store has committed last: most
// of them are delivered soon, often here, and need not be read back. The
// content is shared with those who read it and never written to again.
type recent struct {
	most int // bytes

	mu    sync.Mutex
	size  int
	kept  map[spool.ID]*list.Element // of order
	order list.List                  // of recentContent, the oldest first
}

type recentContent struct {
	id   spool.ID
	data []byte
}

// recentPart is the part of all bytes that one message may take.
const recentPart = 8

// put keeps the content of a message, if it is not too long, and reports
// whether it does so.
func (r *recent) put(id spool.ID, data []byte) bool {
	if cap(data) == 0 || cap(data) > r.most/recentPart {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil {
		r.kept = make(map[spool.ID]*list.Element)
	}
	r.drop(id)
	for r.size+cap(data) > r.most {
		r.drop(r.order.Front().Value.(recentContent).id)
	}
	r.size += cap(data)
	r.kept[id] = r.order.PushBack(recentContent{id, data})
	return true
}

// get returns the content of a message, nil if it is not kept.
func (r *recent) get(id spool.ID) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.kept[id]; e != nil {
		return e.Value.(recentContent).data
	}
	return nil
}

// forget drops messages that have ended.
func (r *recent) forget(ids []spool.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		r.drop(id)
	}
}

// drop drops one, for who has the lock.
func (r *recent) drop(id spool.ID) {
	if e := r.kept[id]; e != nil {
		r.size -= cap(r.order.Remove(e).(recentContent).data)
		delete(r.kept, id)
	}
}
