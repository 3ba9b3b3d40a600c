package main

import (
	"crypto/rand"
	"sync"

	"github.com/postern-mail/postern/auth"
)

// lasting is what logons leave behind. It lives as long as the process: a
// reload must not forget who guesses, nor change the salt of unknown users,
// which would tell them from those there are.
type lasting struct {
	throttle    func() *auth.Throttle // made for the first users: it takes some memory
	scramSecret []byte
	kept        bool // in its file
}

func newLasting() *lasting {
	throttle := sync.OnceValue(func() *auth.Throttle {
		return auth.NewThrottle(nil)
	})
	l := &lasting{throttle: throttle, scramSecret: make([]byte, secretSize)}
	rand.Read(l.scramSecret) // never fails
	return l
}
