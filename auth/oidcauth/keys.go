package oidcauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// pause is the least time between two questions to the provider: who sends
	// forged tokens shall not make this host send as many requests.
	pause   = 10 * time.Second
	timeout = 10 * time.Second
	maxBody = 1 << 20
	maxKeys = 100 // each costs time for a forged token
)

// keys are those of a provider. They are fetched when a token comes.
type keys struct {
	issuer string
	client *http.Client
	maxAge time.Duration

	mu      sync.Mutex
	set     *oidc.StaticKeySet // nil before the first fetch that went well
	fetched time.Time          // when set came
	tried   time.Time          // when the last fetch ended
	err     error              // of the last fetch
	flight  chan struct{}      // closed at the end of the fetch under way; nil without one
}

// get returns the keys in force, and asks the provider whether there are others
// than old.
func (k *keys) get(ctx context.Context, old *oidc.StaticKeySet) (*oidc.StaticKeySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if k.set != nil && k.set != old && now.Sub(k.fetched) < k.maxAge {
		return k.set, nil
	}
	if k.flight == nil {
		if now.Sub(k.tried) < pause {
			return k.set, k.err
		}
		k.flight = make(chan struct{})
		// Not with ctx: a client that goes away must not spoil it for the
		// others.
		go k.fetch(k.flight)
	}
	flight := k.flight
	k.mu.Unlock()
	var err error
	select {
	case <-flight:
	case <-ctx.Done():
		err = ctx.Err()
	}
	k.mu.Lock()
	if err == nil {
		err = k.err
	}
	return k.set, err
}

func (k *keys) fetch(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	set, err := k.ask(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried, k.err, k.flight = time.Now(), err, nil
	if err == nil {
		k.set, k.fetched = set, k.tried
	}
	close(done)
}

func (k *keys) ask(ctx context.Context) (*oidc.StaticKeySet, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, k.client), k.issuer)
	if err != nil {
		return nil, fmt.Errorf("asking the provider for its configuration: %w", err)
	}
	var doc struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&doc); err != nil {
		return nil, fmt.Errorf("the provider's configuration: %w", err)
	}
	if err := checkURL(doc.Keys); err != nil {
		return nil, fmt.Errorf("the provider's jwks_uri: %w", err)
	}
	set, err := k.download(ctx, doc.Keys)
	if err != nil {
		return nil, fmt.Errorf("asking the provider for its keys: %w", err)
	}
	return set, nil
}

func (k *keys) download(ctx context.Context, address string) (*oidc.StaticKeySet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, err
	}
	return parseKeys(body)
}

// parseKeys leaves out what is not for signatures, and what this host does not
// understand.
func parseKeys(body []byte) (*oidc.StaticKeySet, error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, errors.New("malformed key set")
	}
	set := &oidc.StaticKeySet{}
	for _, raw := range doc.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) != nil || key.Use != "" && key.Use != "sig" {
			continue
		}
		switch key.Key.(type) {
		// a shared secret would let others sign
		case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
			set.PublicKeys = append(set.PublicKeys, key.Key)
		}
		if len(set.PublicKeys) == maxKeys {
			break
		}
	}
	if len(set.PublicKeys) == 0 {
		return nil, errors.New("no keys for signatures")
	}
	return set, nil
}

// attempt is an oidc.KeySet that checks one token.
type attempt struct {
	keys *keys
	err  error // why the keys are not known
}

func (a *attempt) VerifySignature(ctx context.Context, token string) (payload []byte, err error) {
	set, err := a.keys.get(ctx, nil)
	if err != nil {
		a.err = err
		return nil, err
	}
	payload, err = set.VerifySignature(ctx, token)
	if err == nil {
		return payload, nil
	}
	// The provider may have changed its keys.
	other, err2 := a.keys.get(ctx, set)
	switch {
	case err2 != nil:
		a.err = err2
		return nil, err2
	case other == set:
		return nil, err
	}
	return other.VerifySignature(ctx, token)
}
