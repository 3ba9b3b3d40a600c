package outbound

import (
	"context"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// refusedFor is how long a host that refused the password is not asked again.
const refusedFor = 30 * time.Second

// logons remembers which hosts took the password of a next hop. Until one has,
// only one connection to it tries, and the others wait to hear: a host that
// counts failures sees one, not one for each message.
type logons struct {
	mu    sync.Mutex
	hosts map[logonKey]*logon
}

type logon struct {
	all     *logons
	trying  chan struct{} // closed when it is known
	proved  bool
	refused *delivery.Error
	until   time.Time // of refused
}

// logonKey is an address, and who logs on there.
type logonKey struct {
	hop  hopKey
	addr string
}

// begin waits until the password may be tried at a host, or gives the refusal
// of one tried before. end must follow. It is nil without a password.
func (s *logons) begin(ctx context.Context, h *hop, addr string) (*logon, *delivery.Error) {
	if h.Username == "" {
		return nil, nil
	}
	for {
		l, wait, failed := s.enter(logonKey{h.key, addr})
		if wait == nil {
			return l, failed
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, lost(ctx, delivery.OpAuth, "4.4.2", ctx.Err())
		}
	}
}

func (s *logons) enter(name logonKey) (l *logon, wait chan struct{}, failed *delivery.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l = s.hosts[name]
	if l == nil {
		s.forget()
		l = &logon{all: s}
		s.hosts[name] = l
	}
	switch {
	case time.Now().Before(l.until):
		refused := *l.refused
		return nil, nil, &refused
	case l.proved:
	case l.trying != nil:
		return nil, l.trying, nil
	default:
		l.trying = make(chan struct{})
	}
	return l, nil, nil
}

// forget makes room for another host.
func (s *logons) forget() {
	if s.hosts == nil {
		s.hosts = make(map[logonKey]*logon)
	}
	if len(s.hosts) < maxMemo {
		return
	}
	for name, l := range s.hosts {
		if l.trying == nil {
			delete(s.hosts, name)
		}
	}
}

// end tells what became of a connection.
func (l *logon) end(failed *delivery.Error) {
	if l == nil {
		return
	}
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	switch {
	case failed == nil:
		l.proved = true
	case failed.Op == delivery.OpAuth && failed.Reply.Code/100 == 5:
		refused := *failed // without the host, which is the caller's
		l.proved, l.refused, l.until = false, &refused, time.Now().Add(refusedFor)
	}
	if l.trying != nil {
		close(l.trying)
		l.trying = nil
	}
}
