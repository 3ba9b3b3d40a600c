package authtest

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
)

// RunCredentialStore tests a store of credentials. open returns an empty one.
func RunCredentialStore(t *testing.T, open func(t *testing.T) auth.CredentialStore) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*credentials)
	}{
		{"Unknown", (*credentials).unknown},
		{"RoundTrip", (*credentials).roundTrip},
		{"Versions", (*credentials).versions},
		{"Copies", (*credentials).copies},
		{"Owners", (*credentials).owners},
		{"Used", (*credentials).used},
		{"Delete", (*credentials).remove},
		{"Spend", (*credentials).spend},
		{"SpendTogether", (*credentials).spendTogether},
		{"CreateTogether", (*credentials).createTogether},
		{"UpdateTogether", (*credentials).updateTogether},
		{"Rotate", (*credentials).rotate},
		{"Caps", (*credentials).caps},
		{"TakenAway", (*credentials).takenAway},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(&credentials{T: t, store: open(t)}) })
	}
}

// credentials is one test of a store.
type credentials struct {
	*testing.T
	store auth.CredentialStore
}

func (c *credentials) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *credentials) want(err, want error) {
	c.Helper()
	if !errors.Is(err, want) {
		c.Errorf("%v, want %v", err, want)
	}
}

// wantStored expects a credential to be stored as it is here.
func (c *credentials) wantStored(want *auth.Credential) {
	c.Helper()
	got, err := c.store.Credential(c.Context(), want.ID)
	if err != nil || !reflect.DeepEqual(got, want) {
		c.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

var at = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)

// full returns a credential with every field set that a caller sets.
func full(id string) *auth.Credential {
	return &auth.Credential{
		ID: id, Owner: "anna's", Label: "a \"label\" ü", Groups: []string{"g"},
		Senders: []string{"*@example.com"},
		Sources: []netip.Prefix{
			netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32"),
		},
		PerMinute: 1, PerDay: 2, Expires: at, Held: true, Created: at.Add(time.Hour),
		Secrets: []auth.Secret{{Digest: [32]byte{1, 2, 255}, Expires: at}, {Digest: [32]byte{3}}},
	}
}

// put stores a new credential and returns it as it is stored.
func (c *credentials) put(of *auth.Credential) *auth.Credential {
	c.Helper()
	c.must(c.store.PutCredential(c.Context(), of))
	stored := *of
	stored.Version = 1
	return &stored
}

func (c *credentials) unknown() {
	ctx := c.Context()
	_, err := c.store.Credential(ctx, "none")
	c.want(err, auth.ErrNoCredential)
	c.want(c.store.DeleteCredential(ctx, "none"), auth.ErrNoCredential)
	c.want(c.store.UsedCredential(ctx, "none", at), auth.ErrNoCredential)
	_, err = c.store.SpendCredential(ctx, "none", 1, 1)
	c.want(err, auth.ErrNoCredential)
	if all, err := c.store.Credentials(ctx, "anna"); len(all) != 0 || err != nil {
		c.Errorf("%v, %v", all, err)
	}
}

func (c *credentials) roundTrip() {
	c.wantStored(c.put(full("b")))
	c.wantStored(c.put(&auth.Credential{ID: "a", Owner: "bert"}))
}

// versions: a change of what has been changed meanwhile is refused.
func (c *credentials) versions() {
	ctx := c.Context()
	stored := c.put(full("b"))
	c.want(c.store.PutCredential(ctx, full("b")), auth.ErrConflict) // there is one already
	stored.Held = false
	c.must(c.store.PutCredential(ctx, stored))
	c.want(c.store.PutCredential(ctx, stored), auth.ErrConflict)
	stored.Version = 2
	c.wantStored(stored)
	c.want(c.store.PutCredential(ctx, &auth.Credential{ID: "none", Version: 3}), auth.ErrConflict)
	_, err := c.store.Credential(ctx, "none")
	c.want(err, auth.ErrNoCredential)
}

// copies: what goes in and comes out is the caller's own.
func (c *credentials) copies() {
	given := full("b")
	want := c.put(given)
	want.Secrets = slices.Clone(want.Secrets)
	given.Secrets[0].Digest[0]++
	c.wantStored(want)
	got, err := c.store.Credential(c.Context(), "b")
	c.must(err)
	got.Secrets[0].Digest[0]++
	c.wantStored(want)
}

func (c *credentials) owners() {
	b := c.put(full("b"))
	a := c.put(&auth.Credential{ID: "a", Owner: b.Owner})
	c.put(&auth.Credential{ID: "c", Owner: "bert"})
	all, err := c.store.Credentials(c.Context(), b.Owner)
	if want := []*auth.Credential{a, b}; err != nil || !reflect.DeepEqual(all, want) {
		c.Errorf("%+v, %v; want %+v", all, err, want)
	}
}

// used: the last use is no change, and no change takes it away.
func (c *credentials) used() {
	stored := c.put(full("b"))
	c.must(c.store.UsedCredential(c.Context(), "b", at))
	stored.LastUsed = at
	c.wantStored(stored)
	stored.LastUsed = time.Time{}
	c.must(c.store.PutCredential(c.Context(), stored))
	stored.LastUsed, stored.Version = at, 2
	c.wantStored(stored)
}

func (c *credentials) remove() {
	ctx := c.Context()
	c.put(full("b"))
	other := c.put(&auth.Credential{ID: "a", Owner: "anna's"})
	c.must(c.store.DeleteCredential(ctx, "b"))
	_, err := c.store.Credential(ctx, "b")
	c.want(err, auth.ErrNoCredential)
	c.want(c.store.DeleteCredential(ctx, "b"), auth.ErrNoCredential)
	c.wantStored(other)
}

// spend: each credential and each day counts by itself, and a change of the
// credential forgets nothing.
func (c *credentials) spend() {
	a, b := c.put(&auth.Credential{ID: "a", Owner: "anna"}), c.put(full("b"))
	total := func(id string, day int64, n, want int) {
		c.Helper()
		if got, err := c.store.SpendCredential(c.Context(), id, day, n); got != want || err != nil {
			c.Errorf("%d, %v; want %d", got, err, want)
		}
	}
	total("b", 20000, 2, 2)
	total("a", 20000, 1, 1)
	c.must(c.store.PutCredential(c.Context(), b))
	total("b", 20000, 3, 5)
	total("b", 20001, 1, 1)
	c.wantStored(a)
}

// spendTogether: no message is counted twice or not at all.
func (c *credentials) spendTogether() {
	c.put(full("b"))
	var mu sync.Mutex
	var totals []int
	c.together(20, func() error {
		total, err := c.store.SpendCredential(c.Context(), "b", 20000, 2)
		mu.Lock()
		defer mu.Unlock()
		totals = append(totals, total)
		return err
	})
	slices.Sort(totals)
	for i, total := range totals {
		if total != 2*(i+1) {
			c.Fatalf("totals %v", totals)
		}
	}
}

// createTogether: of those who create the same, one does.
func (c *credentials) createTogether() {
	var mu sync.Mutex
	created := 0
	c.together(8, func() error {
		err := c.store.PutCredential(c.Context(), full("b"))
		if errors.Is(err, auth.ErrConflict) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		created++
		return err
	})
	if created != 1 {
		c.Errorf("created %d times", created)
	}
}

// together calls f n times at the same time, four goroutines at most.
func (c *credentials) together(n int, f func() error) {
	var group sync.WaitGroup
	defer group.Wait()
	calls := make(chan struct{}, n)
	for range n {
		calls <- struct{}{}
	}
	close(calls)
	for range 4 {
		group.Go(func() {
			for range calls {
				if err := f(); err != nil {
					c.Error(err)
				}
			}
		})
	}
}
