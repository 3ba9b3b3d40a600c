package authtest

import (
	"errors"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/auth"
)

// updateTogether: of changes at the same time none is lost.
func (c *credentials) updateTogether() {
	k := auth.NewKeyring(c.store, nil)
	_, issued, err := k.Issue(c.Context(), auth.Credential{Owner: "anna", PerDay: 1})
	c.must(err)
	c.together(3, func() error {
		return k.Update(c.Context(), issued.ID, func(of *auth.Credential) error {
			of.PerDay++
			return nil
		})
	})
	if got, err := c.store.Credential(c.Context(), issued.ID); err != nil || got.PerDay != 4 {
		c.Errorf("%+v, %v", got, err)
	}
}

// rotate: both tokens are good while they overlap.
func (c *credentials) rotate() {
	k := auth.NewKeyring(c.store, nil)
	first, issued, err := k.Issue(c.Context(), auth.Credential{Owner: "anna"})
	c.must(err)
	second, err := k.Rotate(c.Context(), issued.ID, time.Hour)
	c.must(err)
	for _, token := range []string{first, second} {
		id, err := k.Verify(c.Context(), auth.Proof{Username: "anna", Password: token})
		if err != nil || id.Credential != issued.ID {
			c.Errorf("%+v, %v", id, err)
		}
	}
}

// caps: the messages of a day are counted for all processes together.
func (c *credentials) caps() {
	k, other := auth.NewKeyring(c.store, nil), auth.NewKeyring(c.store, nil)
	_, issued, err := k.Issue(c.Context(), auth.Credential{Owner: "anna", PerDay: 4})
	c.must(err)
	day := time.Now().Unix() / (24 * 60 * 60)
	var spent []error
	for i := range 6 {
		by := k
		if i%2 == 1 {
			by = other
		}
		spent = append(spent, by.Spend(c.Context(), &auth.Identity{Credential: issued.ID}))
	}
	if time.Now().Unix()/(24*60*60) != day {
		return // it was midnight
	}
	for i, err := range spent {
		if (err == nil) != (i < 4) {
			c.Errorf("%d: %v", i, err)
		}
	}
}

// takenAway: another process takes away what a session has logged on with.
func (c *credentials) takenAway() {
	ctx := c.Context()
	k, other := auth.NewKeyring(c.store, nil), auth.NewKeyring(c.store, nil)
	for _, tt := range []struct {
		change func(*auth.Credential)
		want   auth.Refusal
	}{
		{func(of *auth.Credential) { of.Secrets = nil }, auth.WrongSecret},
		{func(of *auth.Credential) { of.Senders = []string{"a@example.com"} }, auth.RightsReduced},
		{func(of *auth.Credential) {
			of.Sources = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		}, auth.SourceRefused},
	} {
		token, issued, err := k.Issue(
			ctx, auth.Credential{Owner: "anna", Senders: []string{"*@example.com"}},
		)
		c.must(err)
		session, err := k.Verify(
			ctx, auth.Proof{Token: token, Remote: netip.MustParseAddrPort("192.0.2.1:25")},
		)
		c.must(err)
		c.must(k.Spend(ctx, session))
		c.must(other.Update(ctx, issued.ID, func(of *auth.Credential) error {
			tt.change(of)
			return nil
		}))
		err = k.Spend(ctx, session)
		if e, ok := errors.AsType[*auth.CredentialError](err); !ok || e.Refusal != tt.want {
			c.Errorf("%v, want %s", err, tt.want)
		}
	}
}
