package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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

// newClaim begins a claim with the envelope.
func (in *Intake) newClaim(m *Message, key string) *claim {
	c := &claim{key: key, digest: sha256.New(), reused: in.KeyReused}
	fmt.Fprintf(c.digest, "%q %q %q", m.Spool.From, m.Spool.EnvelopeID, m.Spool.Return)
	for i := range m.Recipients {
		r := &m.Recipients[i]
		fmt.Fprintf(c.digest, " %q %d", r.To.String(), r.Notify)
	}
	return c
}

// SetKey claims a key for a message whose content counts as it is given. It
// returns the content to be read.
func (in *Intake) SetKey(m *Message, key string, content io.Reader) io.Reader {
	if key == "" {
		return content
	}
	m.claim = in.newClaim(m, key)
	return io.TeeReader(content, m.claim.digest)
}

// scopeOf keeps the keys of senders and streams apart. Who has no name is known
// by the address.
func scopeOf(m *Message) string {
	user, credential, address := "", "", ""
	if id := m.Client.Identity; id != nil {
		user, credential = id.User, id.Credential
	}
	if from := m.Trace.RemoteIP; from.IsValid() && user == "" && credential == "" {
		address = from.String()
	}
	scope := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q",
		user, credential, address, m.Spool.Stream))
	return hex.EncodeToString(scope[:16])
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
func (in *Intake) takeKey(_ context.Context, m *Message) error {
	h := m.header
	if in.Claimed == nil || !m.SMTP || m.Client.Identity == nil || !h.Has(keyField) {
		return nil
	}
	key := h.Value(keyField)
	if h.Count(keyField) > 1 || !IsKey(key) {
		return policy.BadKey.Reply()
	}
	h.Remove(func(f header.Field) bool { return f.Is(keyField) })
	m.claim = in.newClaim(m, key)
	return nil
}

// repetition tells that a message was queued before.
type repetition struct{ id spool.ID }

func (e *repetition) Error() string { return "relay: queued before as " + e.id.String() }

// repeated returns a *repetition if the key of the message is in use for the
// same one. Then it reads what is left of the content.
func (in *Intake) repeated(ctx context.Context, m *Message) error {
	switch {
	case m.claim == nil:
		return nil
	case in.Claimed == nil:
		return fmt.Errorf("relay: the spool has no spool.Keys: %w", errors.ErrUnsupported)
	}
	m.claim.scope = scopeOf(m) // the Policy may have named another stream
	if m.InStep {
		return nil // Commit tells
	}
	id, digest, ok, err := in.Claimed(ctx, m.claim.scope, m.claim.key)
	if err != nil || !ok {
		return err
	}
	if _, err := io.Copy(io.Discard, m.body); err != nil {
		return err
	}
	return m.claim.compare(id, digest)
}

// compare says whether the message that has the key is this one.
func (c *claim) compare(id spool.ID, digest [sha256.Size]byte) error {
	if digest != c.sum() {
		return policy.KeyReused.Because(c.reused)
	}
	return &repetition{id}
}

// Commit commits by f, and tells a message that was queued meanwhile with the
// same key.
func (m *Message) Commit(f func() error) error {
	err := f()
	if claimed, ok := errors.AsType[*spool.ClaimedError](err); ok && m.claim != nil {
		return m.claim.compare(claimed.Message, claimed.Digest)
	}
	return err
}

// IsRepetition reports whether an error says that the message was queued
// before, and takes over its id.
func (m *Message) IsRepetition(err error) bool {
	before, ok := errors.AsType[*repetition](err)
	if ok {
		m.Duplicate = true
		m.Spool.ID, m.Trace.ID = before.id, before.id.String()
	}
	return ok
}
