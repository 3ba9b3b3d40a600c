package relay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

// claimTTL is how long an idempotency key is in use.
const claimTTL = 24 * time.Hour

// keyField is the field by which a submission over SMTP brings its key.
const keyField = "Idempotency-Key"

// claim is the idempotency key of a message on its way in.
type claim struct {
	scope, key string
	digest     hash.Hash // of what makes it the same message
}

// newClaim begins a claim with the envelope. Who has no name is known by the
// address.
func (in *intake) newClaim(key string) *claim {
	c := &claim{key: key, digest: sha256.New()}
	user, credential, address := "", "", ""
	if id := in.client.Identity; id != nil {
		user, credential = id.User, id.Credential
	}
	if in.session != nil && user == "" && credential == "" {
		address = in.session.Remote.Addr().String()
	}
	scope := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q",
		user, credential, address, in.message.Stream))
	c.scope = hex.EncodeToString(scope[:16])
	m := &in.message
	fmt.Fprintf(c.digest, "%q %q %q", m.From, m.EnvelopeID, m.Return)
	for i := range in.rcpts {
		fmt.Fprintf(c.digest, " %q %d", in.rcpts[i].To.String(), in.rcpts[i].Notify)
	}
	return c
}

// setKey claims a key for a message whose content counts as it is given. It
// returns the content to be read.
func (in *intake) setKey(key string, content io.Reader) io.Reader {
	if key == "" {
		return content
	}
	in.claim = in.newClaim(key)
	return io.TeeReader(content, in.claim.digest)
}

func (c *claim) sum() (d [sha256.Size]byte) { return [sha256.Size]byte(c.digest.Sum(nil)) }

// spool returns the claim for a Commit, when all has been read.
func (c *claim) spool() *spool.Claim {
	if c == nil {
		return nil
	}
	return &spool.Claim{Scope: c.scope, Key: c.key, Digest: c.sum(), TTL: claimTTL}
}

// takeKey takes the key out of the header of a submission over SMTP. Clients
// write dates and ids anew when they repeat a message, so the envelope alone
// counts.
func (r *Relay) takeKey(in *intake, h *header.Header) error {
	_, keeps := r.store.(spool.Keys)
	if !keeps || !in.overSMTP() || in.client.Identity == nil || !h.Has(keyField) {
		return nil
	}
	key := h.Value(keyField)
	if h.Count(keyField) > 1 || !isKey(key) {
		return policy.BadKey.Reply()
	}
	h.Remove(func(f header.Field) bool { return f.Is(keyField) })
	in.claim = in.newClaim(key)
	return nil
}

// repetition tells that a message was queued before.
type repetition struct{ id spool.ID }

func (e *repetition) Error() string { return "relay: queued before as " + e.id.String() }

// repeated returns a *repetition if the key of the message is in use for the
// same one. Then it reads what is left of the content.
func (r *Relay) repeated(ctx context.Context, in *intake, body io.Reader) error {
	if in.claim == nil {
		return nil
	}
	keys, ok := r.store.(spool.Keys)
	if !ok {
		return fmt.Errorf("relay: %T has no spool.Keys: %w", r.store, errors.ErrUnsupported)
	}
	id, digest, ok, err := keys.Claimed(ctx, in.claim.scope, in.claim.key)
	if err != nil {
		return storeError(err)
	}
	if !ok {
		return nil
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	return in.claim.compare(id, digest)
}

// compare says whether the message that has the key is this one.
func (c *claim) compare(id spool.ID, digest [sha256.Size]byte) error {
	if digest != c.sum() {
		return policy.KeyReused.Because(ErrKeyReused)
	}
	return &repetition{id}
}

// commit commits by f, and tells a message that was queued meanwhile with the
// same key.
func (c *claim) commit(f func() error) error {
	err := f()
	if claimed, ok := errors.AsType[*spool.ClaimedError](err); ok && c != nil {
		return c.compare(claimed.Message, claimed.Digest)
	}
	return err
}

// isRepetition reports whether an error says that the message was queued
// before, and takes over its id.
func (in *intake) isRepetition(err error) bool {
	before, ok := errors.AsType[*repetition](err)
	if ok {
		in.duplicate = true
		in.message.ID, in.trace.ID = before.id, before.id.String()
	}
	return ok
}
