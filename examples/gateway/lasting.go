package main

import (
	"crypto/rand"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/spool"
)

// lasting is what logons leave behind. It lives as long as the process: a
// reload must not forget who guesses, nor change the salt of unknown users,
// which would tell them from those there are.
type lasting struct {
	throttle    *auth.Throttle // made for the first users: it takes some memory
	counter     auth.Counter   // of all gateways on one database; nil for a directory
	scramSecret []byte
	kept        bool // in its file
}

func newLasting() *lasting {
	l := &lasting{scramSecret: make([]byte, secretSize)}
	rand.Read(l.scramSecret) // never fails
	return l
}

// share makes gateways on one database slow down together who guesses
// passwords.
func (l *lasting) share(place storage, queue spool.Store) {
	if place.IsDatabase() {
		l.counter, _ = queue.(auth.Counter)
	}
}

// guard slows down who guesses passwords of the server's users.
func (l *lasting) guard(s *auth.Server) {
	if s == nil {
		return
	}
	if l.throttle == nil {
		l.throttle = auth.NewThrottle(&auth.ThrottleOptions{Counter: l.counter})
	}
	s.Throttle = l.throttle
}
