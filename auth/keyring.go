package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern"
)

// KeyringOptions change a Keyring. Nil stands for the defaults.
type KeyringOptions struct {
	// OnRefusal is told of every refusal of a known credential. It is called
	// during Verify and Spend and must be quick. Defaults to nobody being told.
	OnRefusal func(*CredentialError)
	// OnError is told when the last use of a credential could not be noted, and
	// when the Counter fails, which stops neither logon nor message. It is
	// called during Verify and Spend and must be quick. Defaults to nobody
	// being told.
	OnError func(error)
	// Counter makes PerMinute hold for all processes that share it, in each
	// minute of the clock. Defaults to none: it holds for each process.
	Counter Counter
}

// A Keyring is a Verifier of the credentials in a store.
//
// A credential's token has two parts: its id, by which it is found, and 160
// random bits.
//
//	q2tv7xk4ma_5vqk7w2c3m6yhd4nzrpxgfatub2so7il
//
// Clients give it as the password, with the owner or the id as the user name;
// as a bearer token it needs no user name. The store keeps a SHA-256 of it,
// which nobody can turn back. It cannot be used for SCRAM.
//
// The identity is the owner's name, with the credential's groups and senders,
// and its id in [Identity.Credential]. Its owner's address is no sender of it
// unless it has no others.
//
// A running session keeps what it got by its logon until the next message: set
// the Keyring as the Quota of the relay, which asks [Keyring.Spend] before
// each. What was added to the credential since counts for new sessions.
type Keyring struct {
	store  CredentialStore
	opt    KeyringOptions
	common *common

	mu      sync.Mutex
	buckets map[string]*bucket // by id, of credentials with PerMinute
}

// NewKeyring returns a Keyring of what is in the store.
func NewKeyring(store CredentialStore, o *KeyringOptions) *Keyring {
	opt := valueOf(o)
	if opt.OnRefusal == nil {
		opt.OnRefusal = func(*CredentialError) {}
	}
	if opt.OnError == nil {
		opt.OnError = func(error) {}
	}
	return &Keyring{
		store: store, opt: opt, common: &common{counter: opt.Counter},
		buckets: make(map[string]*bucket),
	}
}

const (
	idLen      = 10 // characters of 5 bits
	tokenLen   = idLen + 1 + 32
	maxSecrets = 2
)

// newID returns n random letters and digits that are hard to mix up, for
// printers have no clipboard.
func newID(n int) string {
	raw := make([]byte, (n*5+7)/8)
	rand.Read(raw) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))[:n]
}

func newToken(id string) (token string, s Secret) {
	token = id + "_" + newID(tokenLen-idLen-1)
	return token, Secret{Digest: sha256.Sum256([]byte(token))}
}

// Issue stores a new credential as c describes it and returns its token, which
// is shown this once. The ID, the secrets, the times but Expires, and the
// Version are made here. The error holds every fault of c,
// joined with [errors.Join], each a *[postern.FieldError].
func (k *Keyring) Issue(ctx context.Context, c Credential) (
	token string, issued *Credential, err error,
) {
	if k.store == nil {
		return "", nil, errNoStore
	}
	issued = c.clone()
	faults := c.validate(new(Credential))
	if issued.Owner, err = PrepareName(c.Owner); err != nil {
		faults = append(faults, &postern.FieldError{Field: "Owner", Err: err})
	}
	if err := errors.Join(faults...); err != nil {
		return "", nil, err
	}
	issued.ID, issued.Version = newID(idLen), 0
	issued.Created, issued.LastUsed = time.Now().UTC().Truncate(time.Second), time.Time{}
	token, secret := newToken(issued.ID)
	issued.Secrets = []Secret{secret}
	if err := k.store.PutCredential(ctx, issued); err != nil {
		return "", nil, err
	}
	issued.Version++
	return token, issued, nil
}

// Rotate gives a credential a new token and lets the one before work for as
// long as overlap. Earlier ones end at once.
func (k *Keyring) Rotate(
	ctx context.Context, id string, overlap time.Duration,
) (token string, err error) {
	token, secret := newToken(id)
	err = k.Update(ctx, id, func(c *Credential) error {
		now := time.Now().UTC().Truncate(time.Second)
		if len(c.Secrets) >= maxSecrets {
			c.Secrets = c.Secrets[len(c.Secrets)-maxSecrets+1:]
		}
		for i := range c.Secrets {
			if end := now.Add(max(overlap, 0)); c.Secrets[i].Expires.IsZero() ||
				end.Before(c.Secrets[i].Expires) {
				c.Secrets[i].Expires = end
			}
		}
		c.Secrets = append(c.Secrets, secret)
		return nil
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// Update changes a credential: it calls change with what is stored, and again
// if another process was quicker. It returns the error of change, or one that
// holds every fault the change has brought, as that of Issue does. The ID, the
// owner and LastUsed stay.
func (k *Keyring) Update(ctx context.Context, id string, change func(*Credential) error) error {
	switch {
	case k.store == nil:
		return errNoStore
	case change == nil:
		return errors.New("auth: no change of the credential")
	}
	for range 10 {
		c, err := k.store.Credential(ctx, id)
		if err != nil {
			return err
		}
		before := c.clone()
		if err := change(c); err != nil {
			return err
		}
		if err := errors.Join(c.validate(before)...); err != nil {
			return err
		}
		c.ID, c.Owner, c.Version = id, before.Owner, before.Version
		if err = k.store.PutCredential(ctx, c); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return ErrConflict
}

// Verify implements [Verifier]. It returns a [*CredentialError] when a known
// credential is refused.
func (k *Keyring) Verify(ctx context.Context, c Proof) (*Identity, error) {
	token := c.Token
	if token == "" {
		if err := c.Check(); err != nil {
			return nil, err
		}
		token = c.Password
	}
	id, _, ok := strings.Cut(token, "_")
	if !ok || len(token) != tokenLen || len(id) != idLen {
		return nil, ErrBadCredentials
	}
	known, err := k.store.Credential(ctx, id)
	if errors.Is(err, ErrNoCredential) {
		return nil, ErrBadCredentials
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	l := &basis{digest: sha256.Sum256([]byte(token)), remote: c.Remote.Addr().Unmap().WithZone("")}
	refusal := known.refuse(l, now)
	names := func(name string) bool { return name == "" || name == known.Owner || name == id }
	if refusal == "" && !(names(c.Username) && names(c.Authzid)) {
		refusal = WrongOwner
	}
	if refusal != "" {
		return nil, k.refused(known, refusal)
	}
	if now.Sub(known.LastUsed) >= time.Minute {
		err := k.store.UsedCredential(ctx, id, now.UTC().Truncate(time.Minute))
		if errors.Is(err, ErrNoCredential) { // deleted meanwhile
			return nil, ErrBadCredentials
		}
		if err != nil {
			k.opt.OnError(fmt.Errorf("auth: last use of credential %s is not noted: %w", id, err))
		}
	}
	return known.identity(l), nil
}

func (k *Keyring) refused(c *Credential, r Refusal) error {
	err := &CredentialError{ID: c.ID, Owner: c.Owner, Label: c.Label, Refusal: r}
	k.opt.OnRefusal(err)
	return err
}

// Spend counts a message that a session is about to send. It returns a
// [*CredentialError] when the credential of the identity has reached a cap, was
// held or has expired, and when a new logon would not give the session the
// same: its secret is in force no more, its address is not among the Sources,
// or a sender or a group that it got was taken away ([RightsReduced]). It
// returns [ErrBadCredentials] when the credential was deleted, and nil for an
// identity that has none. An identity that does not come from Verify has no
// secret and no address to judge. The cap of a day holds for all processes
// together, and with a Counter so does that of a minute.
func (k *Keyring) Spend(ctx context.Context, id *Identity) error {
	if id == nil || id.Credential == "" {
		return nil
	}
	c, err := k.store.Credential(ctx, id.Credential)
	if errors.Is(err, ErrNoCredential) {
		return ErrBadCredentials
	}
	if err != nil {
		return err
	}
	now := time.Now()
	switch refusal := c.refuse(id.basis, now); {
	case refusal != "":
		return k.refused(c, refusal)
	case id.basis != nil && c.reduced(id.basis):
		return k.refused(c, RightsReduced)
	case c.PerMinute > 0 && !(k.take(c, now) && k.takeCommon(ctx, c, now)):
		return k.refused(c, RateReached)
	}
	if c.PerDay > 0 {
		total, err := k.store.SpendCredential(ctx, c.ID, now.Unix()/(24*60*60), 1)
		if err != nil {
			return err
		}
		if total > c.PerDay {
			return k.refused(c, DayReached)
		}
	}
	return nil
}

// takeCommon counts a message of this minute in all processes. What they are
// not known to have sent does not stop it.
func (k *Keyring) takeCommon(ctx context.Context, c *Credential, now time.Time) bool {
	minute := strconv.FormatInt(now.Unix()/60, 10)
	key := counterKey("credential", c.ID, minute)
	total, err := k.common.count(ctx, key, 2*time.Minute)
	if err != nil {
		k.opt.OnError(
			fmt.Errorf("auth: messages of credential %s are not counted together: %w", c.ID, err),
		)
	}
	return total <= int64(c.PerMinute)
}

// A bucket fills to PerMinute in a minute.
type bucket struct {
	tokens float64
	at     time.Time
}

// maxBuckets is when full buckets are thrown away: a new one is as good.
const maxBuckets = 4096

func (k *Keyring) take(c *Credential, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.buckets[c.ID]
	if b == nil {
		if len(k.buckets) >= maxBuckets {
			for id, old := range k.buckets {
				if now.Sub(old.at) >= time.Minute {
					delete(k.buckets, id)
				}
			}
		}
		b = &bucket{tokens: float64(c.PerMinute), at: now}
		k.buckets[c.ID] = b
	}
	b.tokens = min(b.tokens+now.Sub(b.at).Minutes()*float64(c.PerMinute), float64(c.PerMinute))
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
