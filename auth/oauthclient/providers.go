package oauthclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
)

// Microsoft365 is the Config of an application that sends through Exchange
// Online, smtp.office365.com at port 587: it has the application permission
// SMTP.SendAsApp, and in Exchange a service principal with rights on the
// mailbox that is the Username of the next hop. The secret may be empty if a
// Certificate is set then. Clouds of their own have another TokenURL and Scope.
func Microsoft365(tenant, clientID, clientSecret string) Config {
	return Config{
		TokenURL: "https://login.microsoftonline.com/" + url.PathEscape(tenant) +
			"/oauth2/v2.0/token",
		ClientID: clientID, ClientSecret: clientSecret,
		Scopes: []string{"https://outlook.office365.com/.default"},
	}
}

const (
	googleTokenURL = "https://oauth2.googleapis.com/token"
	googleScope    = "https://mail.google.com/"
)

// Google is the Config of an application that sends through smtp.gmail.com as a
// user who has consented to the scope https://mail.google.com/, the Username of
// the next hop.
func Google(clientID, clientSecret, refreshToken string) Config {
	return Config{
		TokenURL: googleTokenURL, ClientID: clientID, ClientSecret: clientSecret,
		RefreshToken: refreshToken, Scopes: []string{googleScope},
	}
}

// GoogleServiceAccount is the Config of a service account that has domain-wide
// delegation for the scope https://mail.google.com/. key is the file of JSON
// that Google gives out for it, user the address it sends as, the Username of
// the next hop.
func GoogleServiceAccount(key []byte, user string) (Config, error) {
	var file struct {
		Type     string `json:"type"`
		Email    string `json:"client_email"`
		Key      string `json:"private_key"`
		KeyID    string `json:"private_key_id"`
		TokenURL string `json:"token_uri"`
	}
	if err := json.Unmarshal(key, &file); err != nil {
		return Config{}, fmt.Errorf("oauthclient: the key file is no JSON: %w", err)
	}
	if file.Type != "service_account" {
		return Config{}, errors.New("oauthclient: the key file is not of a service account")
	}
	if file.TokenURL == "" {
		file.TokenURL = googleTokenURL
	}
	return Config{
		TokenURL: file.TokenURL, Scopes: []string{googleScope},
		ServiceAccount: &ServiceAccount{
			Email: file.Email, User: user, Key: []byte(file.Key), KeyID: file.KeyID,
		},
	}, nil
}
