package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
)

// Static returns a Verifier of fixed users: names and their passwords. It is
// for tests and demonstrations, since it keeps no more than a plain SHA-256
// between a password and whoever reads the memory. An entry without a password,
// or with a name that [PrepareName] refuses, never matches.
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

// WithSenders returns a Verifier that asks v and adds the sender addresses
// listed for the user to the identity. Names must match exactly. See
// [Identity.Senders] for how addresses are written.
func WithSenders(v Verifier, senders map[string][]string) Verifier {
	v = required(v)
	own := make(map[string][]string, len(senders))
	for user, list := range senders {
		own[user] = slices.Clone(list)
	}
	return VerifierFunc(func(ctx context.Context, c Proof) (*Identity, error) {
		id, err := v.Verify(ctx, c)
		if err != nil || id == nil || len(own[id.User]) == 0 {
			return id, err
		}
		with := *id // v may hand out the same identity again
		with.Senders = slices.Concat(id.Senders, own[id.User])
		return &with, nil
	})
}
