package auth

import (
	"context"
	"slices"
)

// WithSenders returns a Verifier that asks v and adds the sender addresses
// listed for the user to the identity. Names must match exactly. See
// [Identity].Senders for how addresses are written. Where users log on by SCRAM
// too, [SCRAMWithSenders] does the same there.
func WithSenders(v Verifier, senders map[string][]string) Verifier {
	v = required(v)
	own := cloneSenders(senders)
	return VerifierFunc(func(ctx context.Context, c Proof) (*Identity, error) {
		id, err := v.Verify(ctx, c)
		return own.add(id), err
	})
}

// SCRAMWithSenders returns a SCRAMStore that asks s and adds the sender
// addresses listed for the user to the identity, as [WithSenders] does for a
// Verifier.
func SCRAMWithSenders(s SCRAMStore, senders map[string][]string) SCRAMStore {
	if s == nil {
		s = SCRAMStoreFunc(nil)
	}
	own := cloneSenders(senders)
	return SCRAMStoreFunc(func(ctx context.Context, c Proof) (string, *Identity, error) {
		keys, id, err := s.SCRAMKeys(ctx, c)
		return keys, own.add(id), err
	})
}

// ownSenders are the sender addresses of users, by name.
type ownSenders map[string][]string

func cloneSenders(senders map[string][]string) ownSenders {
	own := make(ownSenders, len(senders))
	for user, list := range senders {
		own[user] = slices.Clone(list)
	}
	return own
}

// add returns the identity with the addresses of its user. What it is given
// stays as it is, since a verifier may hand out the same identity again.
func (o ownSenders) add(id *Identity) *Identity {
	if id == nil || len(o[id.User]) == 0 {
		return id
	}
	with := *id
	with.Senders = slices.Concat(id.Senders, o[id.User])
	return &with
}
