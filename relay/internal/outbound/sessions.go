package outbound

import (
	"crypto/tls"
	"errors"
	"sync"
	"time"
)

// Bounds of the TLS sessions that are kept: each has the certificates of its
// peer.
const (
	maxSessions = 500
	// maxChain bounds the certificates of one, in octets, and maxTicket what
	// the peer wants to see again: what is larger is not kept.
	maxChain  = 32 << 10
	maxTicket = 16 << 10
	// sessionFor is how long the certificate of a full handshake stands for
	// those that resume it.
	sessionFor = time.Hour
)

// errResumed tells that a connection broke which had resumed a session, or
// tried to: without one it may stand.
var errResumed = errors.New("TLS session not resumed")

// sessions keeps TLS sessions to be resumed, each for the settings and the
// address that made it. It is safe for concurrent use.
type sessions struct {
	mu    sync.Mutex
	byKey map[sessionKey]session
}

type sessionKey struct {
	hop        hopKey
	name, addr string
}

type session struct {
	state *tls.ClientSessionState
	until time.Time
}

// ticket is what one connection knows of sessions. It is a
// tls.ClientSessionCache with room for one.
type ticket struct {
	of    *sessions
	key   sessionKey
	used  bool      // the connection was to resume a session
	until time.Time // what it leaves behind may be used
}

func (s *sessions) ticket(key hopKey, name, addr string) *ticket {
	return &ticket{
		of: s, key: sessionKey{key, name, addr}, until: time.Now().Add(sessionFor),
	}
}

// Get implements tls.ClientSessionCache.
func (t *ticket) Get(string) (*tls.ClientSessionState, bool) {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	s, ok := t.of.byKey[t.key]
	if !ok || !time.Now().Before(s.until) {
		return nil, false
	}
	t.used, t.until = true, s.until
	return s.state, true
}

// Put implements tls.ClientSessionCache. In TLS 1.3 sessions come when the
// handshake is over, in TLS 1.2 before its end.
func (t *ticket) Put(_ string, state *tls.ClientSessionState) {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.put(state)
}

// put keeps a session, unless it is over already or too large. The caller holds
// the lock.
func (t *ticket) put(state *tls.ClientSessionState) {
	if state == nil || !time.Now().Before(t.until) || long(state) {
		delete(t.of.byKey, t.key)
		return
	}
	if t.of.byKey == nil {
		t.of.byKey = make(map[sessionKey]session)
	}
	if _, known := t.of.byKey[t.key]; !known && len(t.of.byKey) >= maxSessions {
		t.of.forget()
	}
	t.of.byKey[t.key] = session{state, t.until}
}

// long tells whether a peer wants more kept than a ticket is.
func long(state *tls.ClientSessionState) bool {
	text, _, err := state.ResumptionState()
	return err != nil || len(text) > maxTicket
}

// forget makes room: what is over goes first, of the few that are looked at.
// The caller holds the lock.
func (s *sessions) forget() {
	const looks = 8
	var victim sessionKey
	n := 0
	for key, of := range s.byKey {
		victim = key
		if n++; n == looks || !time.Now().Before(of.until) {
			break
		}
	}
	delete(s.byKey, victim)
}

// proved takes in what a handshake has shown. The sessions of a connection that
// has resumed another are good for as long as that one.
func (t *ticket) proved(cs *tls.ConnectionState) {
	if cs.DidResume {
		return
	}
	chain := 0
	for _, cert := range cs.PeerCertificates {
		chain += len(cert.Raw)
		if cert.NotAfter.Before(t.until) {
			t.until = cert.NotAfter
		}
	}
	if chain > maxChain {
		t.until = time.Time{} // not at all
	}
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if s, ok := t.of.byKey[t.key]; ok && t.until.Before(s.until) {
		t.put(s.state)
	}
}

// failed drops the session that the connection was to resume, and reports
// whether there was one.
func (t *ticket) failed() bool {
	if t.used {
		t.Put("", nil)
	}
	return t.used
}
