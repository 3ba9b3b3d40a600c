package outbound

import (
	"sync"
	"time"
)

// How long a connection may be on its way until its host counts as slow, and
// how long that is remembered. Smart hosts are equals, so it costs little to
// begin with another; an exchanger is passed over with more care, since its
// domain prefers it and some greet late on purpose.
const (
	slowSmartHost = time.Second
	slowExchanger = 10 * time.Second
	slowFor       = 5 * time.Minute
)

// patience is how long a connection may be on its way until its host counts as
// slow.
func (h *hop) patience() time.Duration {
	if h.smart() {
		return slowSmartHost
	}
	return slowExchanger
}

// slowHosts remembers the hosts and addresses that let connections wait. One
// that was slow counts as slow again from the moment it is tried, until it has
// answered: so one delivery waits for it, and the others need not. It is safe
// for concurrent use.
type slowHosts struct {
	mu    sync.Mutex
	until map[string]time.Time
	tried map[string]int // connections on their way, by host
}

// has tells whether a name counts as slow now.
func (s *slowHosts) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.until[name])
}

// waits is the number of connections that wait for a host.
func (s *slowHosts) waits(host string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tried[host]
}

// watch takes the names for slow unless end is called within a while. end
// tells whether the host has answered, whatever it said.
func (s *slowHosts) watch(
	after time.Duration, host string, names ...string,
) (end func(answered bool)) {
	if len(names) == 0 {
		return func(bool) {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tried == nil {
		s.tried = make(map[string]int)
	}
	s.tried[host]++
	if _, known := s.until[names[0]]; known {
		s.mark(names)
	}
	ended := false
	timer := time.AfterFunc(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !ended {
			s.mark(names)
		}
	})
	return func(answered bool) {
		timer.Stop()
		s.mu.Lock()
		defer s.mu.Unlock()
		ended = true
		if s.tried[host]--; s.tried[host] == 0 {
			delete(s.tried, host)
		}
		if answered {
			for _, name := range names {
				delete(s.until, name)
			}
		}
	}
}

// passed takes the names for slow: others were quicker although they began
// later.
func (s *slowHosts) passed(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark(names)
}

// mark remembers the names. The caller holds the lock.
func (s *slowHosts) mark(names []string) {
	now := time.Now()
	if s.until == nil {
		s.until = make(map[string]time.Time)
	}
	if len(s.until) >= maxMemo {
		for name, t := range s.until {
			if !now.Before(t) {
				delete(s.until, name)
			}
		}
	}
	for _, name := range names {
		if _, known := s.until[name]; known || len(s.until) < maxMemo {
			s.until[name] = now.Add(slowFor)
		}
	}
}
