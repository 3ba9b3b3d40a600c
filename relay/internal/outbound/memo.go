package outbound

import (
	"sync"
	"time"
)

// maxMemo bounds what a memo remembers.
const maxMemo = 1024

// memo remembers names for a while, each with a number. It is safe for
// concurrent use.
type memo struct {
	keep  time.Duration
	mu    sync.Mutex
	until map[string]note
}

type note struct {
	time.Time
	number int
}

func (m *memo) has(name string) bool { return m.number(name) > 0 }

// number returns what was noted of a name, 0 for nothing.
func (m *memo) number(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.until) == 0 {
		return 0
	}
	if n, ok := m.until[name]; ok && time.Now().Before(n.Time) {
		return n.number
	}
	return 0
}

func (m *memo) add(name string) { m.note(name, 1) }

func (m *memo) note(name string, number int) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.until == nil {
		m.until = make(map[string]note)
	}
	if len(m.until) >= maxMemo {
		for k, n := range m.until {
			if !now.Before(n.Time) {
				delete(m.until, k)
			}
		}
		if len(m.until) >= maxMemo {
			return
		}
	}
	m.until[name] = note{now.Add(m.keep), number}
}

func (m *memo) remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.until, name)
}
