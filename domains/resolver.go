package domains

import (
	"context"
	"errors"
)

// Resolver tells whether a recipient exists. It is called by many sessions at
// once.
//
// It is not about the DNS: that is looked up by relay/delivery's Resolver.
type Resolver interface {
	// Resolve reports whether the mailbox exists. Look it up by
	// [Address.FoldedKey], or "Anna@" is refused where "anna@" is not. An error
	// means that the answer is not known now: it makes a temporary reply, never
	// a refusal.
	Resolve(ctx context.Context, a Address) (known bool, err error)
}

// ResolverFunc is an adapter to use a function as a Resolver.
type ResolverFunc func(ctx context.Context, a Address) (bool, error)

// Resolve calls f.
func (f ResolverFunc) Resolve(ctx context.Context, a Address) (bool, error) {
	if f == nil {
		return false, errors.New("domains: a ResolverFunc without a function")
	}
	return f(ctx, a)
}

// AnyRecipient returns a Resolver to which every recipient exists.
func AnyRecipient() Resolver {
	return anyRecipient{}
}

type anyRecipient struct{}

// Resolve implements [Resolver].
func (anyRecipient) Resolve(context.Context, Address) (bool, error) { return true, nil }

// InMemory tells that Resolve needs no time.
func (anyRecipient) InMemory() {}

// StaticRecipients returns a Resolver of a fixed list. An entry is a local part
// ("alice"), which exists in every domain the Resolver is used for, or a whole
// address ("alice@example.com"). A local part that needs quotes is written with
// them. The case of ASCII letters does not matter.
//
// An entry that is neither matches nothing; [NewTable] reports it.
func StaticRecipients(entries ...string) Resolver {
	s := &staticRecipients{recipients: newRecipients()}
	for i, e := range entries {
		if err := s.recipients.add(e); err != nil {
			s.faults = append(s.faults, entryFault{i, err})
		}
	}
	return s
}

type staticRecipients struct {
	recipients
	faults []entryFault
}

type entryFault struct {
	index int
	err   error
}

// Resolve implements [Resolver].
func (s *staticRecipients) Resolve(_ context.Context, a Address) (bool, error) {
	return s.has(a), nil
}

// InMemory tells that Resolve needs no time.
func (*staticRecipients) InMemory() {}

// recipients is a set of local parts, without quotes and escapes, and of
// keys of addresses, both in lower case.
type recipients struct {
	locals    map[string]struct{}
	addresses map[string]struct{}
}

func newRecipients() recipients {
	return recipients{make(map[string]struct{}), make(map[string]struct{})}
}

func (r recipients) add(entry string) error {
	if n, local, _, err := scanLocal(entry); err == nil && n == len(entry) {
		r.locals[fold(local)] = struct{}{}
		return nil
	}
	a, err := Parse(entry)
	if err != nil {
		return err
	}
	r.addresses[a.FoldedKey()] = struct{}{}
	return nil
}

func (r recipients) has(a Address) bool {
	if a.domain == "" {
		return false
	}
	if _, ok := r.locals[fold(a.local)]; ok {
		return true
	}
	if len(r.addresses) == 0 {
		return false
	}
	_, ok := r.addresses[a.FoldedKey()]
	return ok
}
