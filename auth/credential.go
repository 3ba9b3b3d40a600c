package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern"
)

// A Credential is what one application or device logs on with, beside the
// passwords of people. It has a secret of its own, so that it can be limited,
// changed and taken away alone. Make one with [Keyring.Issue].
type Credential struct {
	ID string `json:"id"` // public: the first part of its tokens

	// Owner is the user it belongs to, and the name to log on with.
	Owner string `json:"owner"`
	// Label tells people what it is for: "printer, 2nd floor".
	Label string `json:"label,omitempty"`
	// Groups are those of the identity. The owner's own do not count.
	Groups []string `json:"groups,omitempty"`
	// Senders are the addresses and domains it may send as, written as those of
	// an [Identity]: with A-labels, and the local part in quotes only where it
	// must be. Defaults to the owner, if that is an address.
	Senders []string `json:"senders,omitempty"`
	// Sources are the addresses it may log on from. IPv4 is not written as
	// IPv6. Defaults to all.
	Sources []netip.Prefix `json:"sources,omitempty"`
	// PerMinute and PerDay are how many messages it may send in a minute and on
	// a day (UTC). 0 is no limit.
	PerMinute int `json:"perMinute,omitempty"`
	PerDay    int `json:"perDay,omitempty"`
	// Expires ends it. The zero time is never.
	Expires time.Time `json:"expires,omitzero"`
	// Held stops it until that is taken back.
	Held bool `json:"held,omitempty"`

	Created time.Time `json:"created,omitzero"`
	// LastUsed is when it logged on last, to the minute.
	LastUsed time.Time `json:"lastUsed,omitzero"`
	// Secrets are those in force, the newest last: two while clients change
	// over.
	Secrets []Secret `json:"-"`
	// Version counts the changes. A store refuses to replace another version
	// than the one it holds.
	Version int64 `json:"version"`
}

// A Secret is how one token of a credential is kept. Tokens are random and
// long, so that a single SHA-256 is as good as a slow hash.
type Secret struct {
	Digest  [32]byte  `json:"digest"` // SHA-256 of the token
	Expires time.Time `json:"expires,omitzero"`
}

// clone returns a copy that shares nothing with c.
func (c *Credential) clone() *Credential {
	own := *c
	own.Groups, own.Senders = slices.Clone(c.Groups), slices.Clone(c.Senders)
	own.Sources, own.Secrets = slices.Clone(c.Sources), slices.Clone(c.Secrets)
	return &own
}

// validate returns what is wrong with c, every fault naming its field. Faults
// that c had before a change do not count, so that a credential that was stored
// with them can still be held.
func (c *Credential) validate(before *Credential) []error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, &postern.FieldError{Field: field, Err: fmt.Errorf(format, args...)})
	}
	for i, s := range c.Senders {
		field := fmt.Sprintf("Senders[%d]", i)
		at := strings.LastIndexByte(s, '@')
		switch local, domain := s[:max(at, 0)], s[at+1:]; {
		case slices.Contains(before.Senders, s):
		case !isLocal(local):
			fault(field, "%q is not an address", s)
		case !isPlainASCII(domain):
			fault(field, "%q: write its domain with A-labels (xn--…)", s)
		case !isDomain(domain):
			fault(field, "%q is not an address", s)
		}
	}
	for i, p := range c.Sources {
		field := fmt.Sprintf("Sources[%d]", i)
		switch {
		case slices.Contains(before.Sources, p):
		case !p.IsValid():
			fault(field, "not a range of addresses")
		case p.Addr().Is4In6():
			fault(field, "%s: write it as IPv4", p)
		}
	}
	if c.PerMinute < 0 && c.PerMinute != before.PerMinute {
		fault("PerMinute", "%d is negative", c.PerMinute)
	}
	if c.PerDay < 0 && c.PerDay != before.PerDay {
		fault("PerDay", "%d is negative", c.PerDay)
	}
	return faults
}

// isLocal reports whether s is a local part as [Identity.MaySendAs] is asked
// for it (RFC 5321 section 4.1.2, RFC 6531 section 3.3). A reverse-path may
// have one of 256 octets.
func isLocal(s string) bool {
	if s == `""` { // which net/mail does not read
		return true
	}
	const domain = "@a"
	a, err := mail.ParseAddress("<" + s + domain + ">")
	if err != nil || len(s) > 256 {
		return false
	}
	return (&mail.Address{Address: a.Address}).String() == "<"+s+domain+">"
}

// isDomain reports whether s is a domain, in whose labels hosts may have an
// underscore, or an address literal.
func isDomain(s string) bool {
	if literal, ok := strings.CutPrefix(s, "["); ok {
		literal, ok = strings.CutSuffix(strings.TrimPrefix(literal, "IPv6:"), "]")
		_, err := netip.ParseAddr(literal)
		return ok && err == nil
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, letters) != "" ||
			label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return len(s) <= 255
}

// A basis is how a session came by its Credential, and what it got.
type basis struct {
	digest          [sha256.Size]byte // of the token
	remote          netip.Addr
	senders, groups []string
}

// refuse returns why not, or nothing. Nothing about a credential is told to who
// does not know its secret. Without a basis it refuses what holds for all who
// have the credential.
func (c *Credential) refuse(l *basis, now time.Time) Refusal {
	late := func(end time.Time) bool { return !end.IsZero() && !now.Before(end) }
	var shown *Secret
	if l != nil {
		for i := range c.Secrets {
			if subtle.ConstantTimeCompare(l.digest[:], c.Secrets[i].Digest[:]) == 1 {
				shown = &c.Secrets[i]
			}
		}
		if shown == nil {
			return WrongSecret
		}
	}
	switch {
	case late(c.Expires):
		return Expired
	case c.Held:
		return Held
	case shown != nil && late(shown.Expires):
		return SecretExpired
	case l != nil && len(c.Sources) > 0 &&
		!slices.ContainsFunc(c.Sources, func(p netip.Prefix) bool { return p.Contains(l.remote) }):
		return SourceRefused
	}
	return ""
}

// reduced reports whether a logon has got what a new one would not get.
func (c *Credential) reduced(l *basis) bool {
	now := c.identity(nil)
	return slices.ContainsFunc(l.senders, func(s string) bool {
		return !slices.Contains(now.Senders, s) && !now.MaySendAs(s)
	}) ||
		slices.ContainsFunc(l.groups, func(g string) bool {
			return !slices.Contains(now.Groups, g)
		})
}

// identity returns who has logged on.
func (c *Credential) identity(l *basis) *Identity {
	id := &Identity{User: c.Owner, Credential: c.ID, Groups: c.Groups, Senders: c.Senders, basis: l}
	if len(c.Senders) == 0 && strings.Contains(c.Owner, "@") && !strings.HasPrefix(c.Owner, "*@") {
		id.Senders = []string{c.Owner}
	}
	if c.Label != "" {
		id.Labels = map[string]string{"credential": c.Label}
	}
	if l != nil {
		l.senders, l.groups = id.Senders, id.Groups
	}
	return id
}

// ErrNoCredential tells that a CredentialStore has no credential with an id.
var ErrNoCredential = errors.New("auth: no such credential")

// ErrConflict tells that a CredentialStore does not make a change, since the
// credential was changed meanwhile.
var ErrConflict = errors.New("auth: the credential was changed meanwhile")

// Arguments that must be there.
var (
	errNilCredential = errors.New("auth: nil credential")
	errNoDatabase    = errors.New("auth: nil database")
	errNoStore       = errors.New("auth: nil CredentialStore")
)

// A CredentialStore keeps credentials. It is called by many sessions at once.
// Package auth/authtest has the tests that every store passes.
// Credentials that it returns and takes are the caller's: it keeps copies. Each
// method but PutCredential and Credentials returns [ErrNoCredential] for an id
// that it does not know.
type CredentialStore interface {
	// Credential returns the one with an id.
	Credential(ctx context.Context, id string) (*Credential, error)
	// Credentials returns those of an owner, sorted by id.
	Credentials(ctx context.Context, owner string) ([]*Credential, error)
	// PutCredential creates a credential whose Version is 0, or replaces that
	// with the same id and Version, its LastUsed aside. The one stored has the
	// next Version. It returns [ErrConflict] if there is another Version, or
	// none to replace.
	PutCredential(ctx context.Context, c *Credential) error
	// DeleteCredential removes one for ever.
	DeleteCredential(ctx context.Context, id string) error
	// UsedCredential notes when one was used last.
	UsedCredential(ctx context.Context, id string, at time.Time) error
	// SpendCredential adds n to the messages of a day, counted from 1970-01-01,
	// and returns how many they are now. Older days are forgotten. A process
	// that asks at the same time gets another answer.
	SpendCredential(ctx context.Context, id string, day int64, n int) (total int, err error)
}
