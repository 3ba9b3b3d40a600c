package outbound

import (
	"context"
	"sync"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/relay/delivery"
)

// refusedFor is how long a host that refused the password or the token is not
// asked again, nor a source that gave none. takenFor is how long a mechanism
// that a host took where it refused another comes first.
const (
	refusedFor = 30 * time.Second
	takenFor   = time.Hour
)

// logons remembers which hosts took the password or the token of a next hop.
// Until one has, only one connection to it tries, and the others wait to hear:
// a host that counts failures sees one, not one for each message.
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

	taken      string // mechanism, where others were refused
	takenUntil time.Time

	client *scram.Client // which keeps what is costly to compute
	scram  string        // mechanism it is for
	salt   string        // that it was used with
}

// logonKey is an address, and who logs on there.
type logonKey struct {
	hop  hopKey
	addr string
}

// login is how one connection logs on.
type login struct {
	*logon        // what is known of the host
	token  string // the one to show
	anew   bool   // token was fetched after a refusal
	untold bool   // the peer went away before it said what it makes of token
	why    string // what a peer says of a token
}

// again tells, once, that a token is worth another connection.
func (w *login) again() (again bool) {
	if w != nil {
		again, w.untold = w.untold, false
	}
	return again
}

// begin waits until a host may be tried.
func (s *logons) begin(ctx context.Context, h *hop, addr string) (*logon, *delivery.Error) {
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
func (w *login) end(failed *delivery.Error) {
	if w == nil {
		return
	}
	l := w.logon
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	switch {
	case failed == nil:
		l.proved = true
	case failed.Op == delivery.OpAuth && failed.Reply.Code/100 == 5:
		refused := *failed // which is the caller's
		l.proved, l.refused, l.until = false, &refused, time.Now().Add(refusedFor)
	}
	if l.trying != nil {
		close(l.trying)
		l.trying = nil
	}
}

// first is the mechanism that comes before others.
func (l *logon) first() string {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	if time.Now().Before(l.takenUntil) {
		return l.taken
	}
	return ""
}

// takes remembers a mechanism that a host takes.
func (l *logon) takes(mechanism string) {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	l.taken, l.takenUntil = mechanism, time.Now().Add(takenFor)
}

// scramClient gives the client for a mechanism. Connections share it for its
// keys.
func (l *logon) scramClient(
	mechanism string, create func() (*scram.Client, error),
) (_ *scram.Client, err error) {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	if l.client == nil || l.scram != mechanism {
		l.client, err = create()
		l.scram, l.salt = mechanism, ""
	}
	return l.client, err
}

// salted tells what a host has salted the password with. Once that is another,
// the keys are forgotten: a client would keep those of every salt.
func (l *logon) salted(salt string) {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	if l.salt != "" && l.salt != salt {
		l.client = nil
	}
	l.salt = salt
}
