package oauthclient

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/postern-mail/postern/connector"
)

const (
	timeout = 10 * time.Second // of one request
	early   = time.Minute      // before its end a token is replaced
	again   = 10 * time.Second // after that could not be done
)

// Source is a [connector.TokenSource]. It is safe for concurrent use: whoever
// comes while a token is being fetched waits for that one.
//
// [connector.TokenSource]:
// https://pkg.go.dev/github.com/postern-mail/postern/connector#TokenSource
type Source struct {
	cfg    Config
	client *http.Client
	turn   chan struct{} // held by who looks at what follows

	token    string
	replace  time.Time // from when on another token is fetched; zero: never
	expires  time.Time // zero: never
	refresh  string
	unstored bool // refresh is newer than what was stored
}

var _ connector.TokenSource = (*Source)(nil)

// New returns a Source. It does not ask the provider yet. The error holds every
// fault, joined with [errors.Join], each a *postern.FieldError.
func New(cfg Config) (*Source, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.Scopes = slices.Clone(cfg.Scopes)
	client := http.Client{}
	if cfg.Client != nil {
		client = *cfg.Client
	}
	client.Timeout = timeout
	client.CheckRedirect = func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // elsewhere the secret is not sent
	}
	return &Source{
		cfg: cfg, client: &client, refresh: cfg.RefreshToken, turn: make(chan struct{}, 1),
	}, nil
}

// String returns what that of the Config does.
func (s *Source) String() string { return s.cfg.String() }

// GoString returns what String does. It keeps the secrets out of %#v.
func (s *Source) GoString() string { return fmt.Sprintf("oauthclient.Source{%s}", s) }

// Token returns a token that is not refused and has some time left. It asks the
// provider where there is none.
func (s *Source) Token(ctx context.Context, refused string) (string, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", fmt.Errorf("oauthclient: %w", context.Cause(ctx))
	}
	if s.token == refused {
		s.token = ""
	}
	if s.token == "" || past(time.Now(), s.replace) {
		if err := s.fetch(ctx); err != nil && !s.keeps() {
			return "", fmt.Errorf("oauthclient: %w", err)
		}
	}
	if err := s.store(); err != nil {
		return "", fmt.Errorf("oauthclient: the new refresh token is not stored: %w", err)
	}
	return s.token, nil
}

func past(now, end time.Time) bool { return !end.IsZero() && !now.Before(end) }

// keeps tells whether the token still serves where another one could not be
// fetched, which is not tried for each caller: it may take its time.
func (s *Source) keeps() bool {
	now := time.Now()
	if s.token == "" || past(now, s.expires) {
		return false
	}
	if s.replace = now.Add(again); s.expires.Before(s.replace) {
		s.replace = s.expires
	}
	return true
}

// fetch replaces the token.
func (s *Source) fetch(ctx context.Context) error {
	now := time.Now()
	t, err := s.ask(ctx)
	if err != nil {
		return err
	}
	s.token, s.expires, s.replace = t.AccessToken, t.Expiry, t.Expiry
	if !t.Expiry.IsZero() {
		s.replace = t.Expiry.Add(-min(early, t.Expiry.Sub(now)/10))
	}
	if t.RefreshToken != "" && t.RefreshToken != s.refresh {
		s.refresh, s.unstored = t.RefreshToken, true
	}
	return nil
}

// store hands a new refresh token on, until it was taken.
func (s *Source) store() error {
	if !s.unstored || s.cfg.StoreRefreshToken == nil {
		return nil
	}
	err := s.cfg.StoreRefreshToken(s.refresh)
	s.unstored = err != nil
	return err
}
