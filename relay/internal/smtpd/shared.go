package smtpd

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// maxPaused bounds the sessions that are held back at one time, server-wide.
// Beyond it refusals are not delayed.
const maxPaused = 1000

// maxHeaders bounds the connections from proxies whose PROXY header has not
// arrived yet.
const maxHeaders = 1000

// shared is what the connections of a server have in common.
type shared struct {
	hostname  string
	log       *slog.Logger
	admitted  admissions
	nat       natWatch
	paused    atomic.Int64
	strangers told
	headers   atomic.Int64 // connections whose PROXY header is being waited for
	next      atomic.Uint64
	inputs    sync.Pool // of *[largeInput]byte
}

func (s *shared) sessionID() string { return strconv.FormatUint(s.next.Add(1), 16) }

// report tells the backend of a refusal, which logs it.
func (s *shared) report(settings *Settings, sess *Session, rej Rejection) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(sess, v)
		}
	}()
	settings.Backend.Rejected(sess, rej)
}

func (s *shared) panicked(sess *Session, v any) {
	s.log.Error("panic in a session", logkey.Session, sess.ID, logkey.Panic, fmt.Sprint(v),
		logkey.Stack, string(debug.Stack()))
}

// unknown reports a peer that no connector is for. Nothing bounds how often
// such peers connect, so not every one is told of.
func (s *shared) unknown(settings *Settings, sess *Session) {
	ok, before := s.strangers.tell(time.Now())
	if !ok {
		return
	}
	err := errNoConnector
	if before > 0 {
		err = fmt.Errorf("%w, as for %d others before", errNoConnector, before)
	}
	if sess.ID == "" {
		sess.ID = s.sessionID()
	}
	s.report(settings, sess, Rejection{Stage: "connect", Reply: &policy.Reply{Cause: err}})
}

var errNoConnector = errors.New("no connector for the peer")

// maxTold bounds how many strangers the log and the events are told of in a
// second.
const maxTold = 20

// told counts what the log is told of.
type told struct {
	mu     sync.Mutex
	began  time.Time // of a second
	n      int
	missed int
}

// tell reports whether there is room for one more, and how many had none before
// it.
func (t *told) tell(now time.Time) (ok bool, missed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.began) >= time.Second {
		t.began, t.n = now, 0
	}
	if t.n++; t.n > maxTold {
		t.missed++
		return false, 0
	}
	missed, t.missed = t.missed, 0
	return true, missed
}
