package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/jwt"
)

// ask fetches a token by the grant that the Config has the means for. Answers
// are read up to 1 MiB by the library.
func (s *Source) ask(ctx context.Context) (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, s.client)
	t, err := s.grant(ctx)
	switch {
	case err != nil:
		return nil, s.explained(err)
	case t.AccessToken == "":
		return nil, errors.New("the answer has no access_token")
	case !strings.EqualFold(t.Type(), "Bearer"):
		return nil, errors.New("the token is no bearer token")
	}
	return t, nil
}

func (s *Source) grant(ctx context.Context) (*oauth2.Token, error) {
	c := &s.cfg
	style := oauth2.AuthStyleInParams
	if c.SecretInHeader {
		style = oauth2.AuthStyleInHeader
	}
	switch {
	case c.ServiceAccount != nil:
		return (&jwt.Config{
			Email: c.ServiceAccount.Email, PrivateKey: c.ServiceAccount.Key,
			PrivateKeyID: c.ServiceAccount.KeyID, Subject: c.ServiceAccount.User,
			Scopes: c.Scopes, TokenURL: c.TokenURL,
		}).TokenSource(ctx).Token()
	case s.refresh != "":
		config := oauth2.Config{
			ClientID: c.ClientID, ClientSecret: c.ClientSecret,
			Endpoint: oauth2.Endpoint{TokenURL: c.TokenURL, AuthStyle: style},
		}
		return config.TokenSource(ctx, &oauth2.Token{RefreshToken: s.refresh}).Token()
	}
	var params url.Values
	if c.Certificate != nil {
		var err error
		if params, err = assertion(c); err != nil {
			return nil, err
		}
	}
	return (&clientcredentials.Config{
		ClientID: c.ClientID, ClientSecret: c.ClientSecret, TokenURL: c.TokenURL,
		Scopes: c.Scopes, AuthStyle: style, EndpointParams: params,
	}).Token(ctx)
}

// explained tells what the provider said, by the fields of RFC 6749 section
// 5.2. Whatever else is in its answer is left out, and what it repeats of the
// secrets.
func (s *Source) explained(err error) error {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return err
	}
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(answer.Body, &said) // what is no JSON says nothing
	text := "the provider answers " + status(answer.Response)
	for _, part := range []string{said.Error, said.Description} {
		if part != "" {
			text += ": " + part
		}
	}
	for _, secret := range []string{s.cfg.ClientSecret, s.refresh} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "(secret)")
		}
	}
	return errors.New(printable(text))
}

func status(r *http.Response) string {
	if r == nil {
		return "nothing"
	}
	return r.Status
}

// printable cuts a text short and makes one line of it, as it is for logs.
func printable(s string) string {
	const most = 500
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
