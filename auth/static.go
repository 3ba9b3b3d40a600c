package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
)

// Static returns a Verifier of fixed users: names and their passwords. It is
// for tests and demonstrations, since it keeps no more than a plain SHA-256
// between a password and whoever reads the memory. An entry without a password,
// or with a name that [PrepareName] refuses, never matches. A user whose name
// is no address needs [WithSenders] to send anything.
func Static(users map[string]string) Verifier {
	s := make(static, len(users))
	for name, password := range users {
		if name, err := PrepareName(name); err == nil {
			s[name] = sha256.Sum256([]byte(password))
		}
	}
	return s
}

type static map[string][sha256.Size]byte

// Verify implements [Verifier].
func (s static) Verify(_ context.Context, c Proof) (*Identity, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	want, known := s[c.Username]
	got := sha256.Sum256([]byte(c.Password))
	// Both are looked at in every case, so that the time does not tell which
	// was wrong.
	if subtle.ConstantTimeCompare(want[:], got[:]) == 1 && known {
		return &Identity{User: c.Username}, nil
	}
	return nil, ErrBadCredentials
}
