package auth

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// MemoryCredentials is a CredentialStore that forgets everything with the
// process: for tests, and as the template for whoever writes a store. The zero
// value is ready for use.
type MemoryCredentials struct {
	mu   sync.Mutex
	byID map[string]*storedCredential
}

type storedCredential struct {
	*Credential
	day   int64
	spent int
}

var _ CredentialStore = (*MemoryCredentials)(nil)

// Credential implements [CredentialStore].
func (m *MemoryCredentials) Credential(_ context.Context, id string) (*Credential, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.byID[id]
	if c == nil {
		return nil, ErrNoCredential
	}
	return c.clone(), nil
}

// Credentials implements [CredentialStore].
func (m *MemoryCredentials) Credentials(_ context.Context, owner string) ([]*Credential, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*Credential
	for _, c := range m.byID {
		if c.Owner == owner {
			all = append(all, c.clone())
		}
	}
	slices.SortFunc(all, func(a, b *Credential) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// PutCredential implements [CredentialStore].
func (m *MemoryCredentials) PutCredential(_ context.Context, c *Credential) error {
	if c == nil {
		return errNilCredential
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.byID[c.ID]
	if old == nil && c.Version != 0 || old != nil && old.Version != c.Version {
		return ErrConflict
	}
	if old == nil {
		if m.byID == nil {
			m.byID = make(map[string]*storedCredential)
		}
		old = &storedCredential{Credential: new(Credential)}
		m.byID[c.ID] = old
	}
	used := old.LastUsed
	old.Credential = c.clone()
	old.LastUsed = used
	old.Version++
	return nil
}

// DeleteCredential implements [CredentialStore].
func (m *MemoryCredentials) DeleteCredential(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byID[id] == nil {
		return ErrNoCredential
	}
	delete(m.byID, id)
	return nil
}

// UsedCredential implements [CredentialStore].
func (m *MemoryCredentials) UsedCredential(_ context.Context, id string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.byID[id]
	if c == nil {
		return ErrNoCredential
	}
	c.LastUsed = at
	return nil
}

// SpendCredential implements [CredentialStore].
func (m *MemoryCredentials) SpendCredential(
	_ context.Context, id string, day int64, n int,
) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.byID[id]
	if c == nil {
		return 0, ErrNoCredential
	}
	if c.day != day {
		c.day, c.spent = day, 0
	}
	c.spent += n
	return c.spent, nil
}
