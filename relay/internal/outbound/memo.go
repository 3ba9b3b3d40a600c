package outbound

import (
	"sync"
	"time"
)

// maxMemo bounds what a memo remembers.
const maxMemo = 1024

// memo remembers names for a while. It is safe for concurrent use.
type memo struct {
	keep  time.Duration
	mu    sync.Mutex
	until map[string]time.Time
}

func (m *memo) has(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.until) == 0 {
		return false
	}
	t, ok := m.until[name]
	return ok && time.Now().Before(t)
}

func (m *memo) add(name string) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.until == nil {
		m.until = make(map[string]time.Time)
	}
	if len(m.until) >= maxMemo {
		for k, t := range m.until {
			if !now.Before(t) {
				delete(m.until, k)
			}
		}
		if len(m.until) >= maxMemo {
			return
		}
	}
	m.until[name] = now.Add(m.keep)
}

func (m *memo) remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.until, name)
}
