package ldapauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/domains"
)

// Verifier asks the directory. It is safe for use by many sessions at once.
type Verifier struct {
	cfg        Config
	attributes []string
	searches   *pool // bound as the account that searches
	binds      *pool // bound as whoever was last
}

// Verify implements [auth.Verifier].
func (v *Verifier) Verify(ctx context.Context, c auth.Proof) (*auth.Identity, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	// A server that is written in C may see the password end there, and a
	// shorter or an empty one in it.
	if strings.IndexByte(c.Password, 0) >= 0 {
		return nil, auth.ErrBadCredentials
	}
	id, err := v.verify(ctx, c)
	if err != nil && !errors.Is(err, auth.ErrBadCredentials) {
		err = fmt.Errorf("ldapauth: user %q: %w", c.Username, err)
	}
	return id, err
}

// Close closes the connections that are kept for the next logon. Those in use
// follow when they have their answer.
func (v *Verifier) Close() error {
	v.searches.close()
	v.binds.close()
	return nil
}

func (v *Verifier) verify(ctx context.Context, c auth.Proof) (*auth.Identity, error) {
	if v.cfg.DN != "" {
		return v.verifyDN(ctx, fill(v.cfg.DN, ldap.EscapeDN(c.Username)), c.Password)
	}
	entry, err := v.find(ctx, c.Username)
	if err != nil {
		return nil, err
	}
	dn := v.cfg.Decoy
	if entry != nil {
		dn = entry.DN
	}
	if dn == "" { // of the root: a bind without a name is an anonymous one
		return nil, errors.New("the entry of the user has no name")
	}
	err = v.binds.do(ctx, func(conn *conn) error {
		// Once the account that searches has logged on the same way, a server
		// that is unwilling is so about the user.
		return refusal(conn.bind(dn, c.Password), v.cfg.BindDN != "")
	})
	switch {
	case err != nil:
		return nil, err
	case entry == nil:
		return nil, auth.ErrBadCredentials
	}
	return v.identity(entry)
}

// verifyDN logs on as an entry and reads it.
func (v *Verifier) verifyDN(ctx context.Context, dn, password string) (*auth.Identity, error) {
	var found []*ldap.Entry
	err := v.binds.do(ctx, func(conn *conn) (err error) {
		if err := refusal(conn.bind(dn, password), false); err != nil {
			return err
		}
		if found, err = conn.search(
			v.request(dn, ldap.ScopeBaseObject, "(objectClass=*)"),
		); err != nil {
			return fmt.Errorf("reading the user's own entry: %w", err)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) != 1:
		return nil, errors.New("users cannot read their own entries")
	}
	return v.identity(found[0])
}

// find returns the entry of a user, or nil.
func (v *Verifier) find(ctx context.Context, name string) (*ldap.Entry, error) {
	var found []*ldap.Entry
	err := v.searches.do(ctx, func(conn *conn) (err error) {
		found, err = conn.search(
			v.request(
				v.cfg.Base, ldap.ScopeWholeSubtree, fill(v.cfg.Filter, ldap.EscapeFilter(name)),
			),
		)
		return err
	})
	switch {
	case len(found) > 1 || ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		return nil, errors.New("the filter finds more than one entry")
	case err != nil:
		return nil, fmt.Errorf("searching: %w", err)
	case len(found) == 0:
		return nil, nil
	}
	return found[0], nil
}

func (v *Verifier) request(base string, scope int, filter string) *ldap.SearchRequest {
	return &ldap.SearchRequest{
		BaseDN: base, Scope: scope, DerefAliases: ldap.NeverDerefAliases,
		SizeLimit: 2, EnforceSizeLimit: true,
		Filter: filter, Attributes: v.attributes,
	}
}

// refusal returns ErrBadCredentials if err, which a bind has ended with, is an
// answer about the user.
func refusal(err error, unwillingToTakeUser bool) error {
	var answer *ldap.Error
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.ResultCode {
	case ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInappropriateAuthentication,
		ldap.LDAPResultNoSuchObject,
		ldap.LDAPResultConstraintViolation: // so says 389 Directory Server after too many failures
		return auth.ErrBadCredentials
	case ldap.LDAPResultUnwillingToPerform: // and this of an account that is not active
		if unwillingToTakeUser {
			return auth.ErrBadCredentials
		}
	}
	return err
}

// identity tells what an entry is to the relay.
func (v *Verifier) identity(entry *ldap.Entry) (*auth.Identity, error) {
	names := entry.GetEqualFoldAttributeValues(v.cfg.User)
	if len(names) != 1 {
		return nil, fmt.Errorf(
			"entry %q has %d values of %s instead of one", entry.DN, len(names), v.cfg.User,
		)
	}
	name, err := auth.PrepareName(names[0])
	if err != nil {
		return nil, fmt.Errorf("%s of entry %q: %w", v.cfg.User, entry.DN, err)
	}
	id := &auth.Identity{User: name}
	for _, attribute := range v.cfg.Groups {
		for _, value := range entry.GetEqualFoldAttributeValues(attribute) {
			if group := v.cfg.Group(value); group != "" && !slices.Contains(id.Groups, group) {
				id.Groups = append(id.Groups, group)
			}
		}
	}
	for _, attribute := range v.cfg.Senders {
		for _, value := range entry.GetEqualFoldAttributeValues(attribute) {
			if address := sender(value); address != "" && !slices.Contains(id.Senders, address) {
				id.Senders = append(id.Senders, address)
			}
		}
	}
	return id, nil
}

// sender returns the address in a value as identities have it, or nothing.
func sender(value string) string {
	// Exchange puts the kind of an address before it: "SMTP:" that which is
	// shown, "smtp:" others.
	if kind, address, ok := strings.Cut(value, ":"); ok && !strings.ContainsAny(kind, `"@`) {
		if !strings.EqualFold(kind, "smtp") {
			return ""
		}
		value = address
	}
	a, err := domains.Parse(value)
	if err != nil {
		return ""
	}
	key := a.Key()
	if strings.HasPrefix(key, "*@") { // an address to SMTP, a whole domain to an identity
		return ""
	}
	return key
}
