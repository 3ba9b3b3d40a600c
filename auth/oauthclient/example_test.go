package oauthclient_test

import (
	"fmt"
	"os"

	"github.com/postern-mail/postern/auth/oauthclient"
	"github.com/postern-mail/postern/connector"
)

func ExampleMicrosoft365() {
	tokens, err := oauthclient.New(oauthclient.Microsoft365(
		"contoso.example", "11111111-2222-3333-4444-555555555555", "the secret's value",
	))
	if err != nil {
		fmt.Println(err)
		return
	}
	out := &connector.SendConnector{
		Name: "microsoft365", AddressSpaces: connector.AllDomains(),
		NextHop: connector.NextHop{
			Hosts: []string{"smtp.office365.com:587"},
			TLS:   connector.TLSDomainValidation, TLSDomain: "smtp.office365.com",
			Username: "shop@contoso.example", // the mailbox
			Tokens:   tokens,
		},
	}
	fmt.Println(out.Validate())
	// Output: <nil>
}

func ExampleGoogle() {
	cfg := oauthclient.Google(
		"123.apps.googleusercontent.com", "the client's secret", "the refresh token",
	)
	cfg.StoreRefreshToken = func(refreshToken string) error {
		return os.WriteFile("refresh-token", []byte(refreshToken), 0o600)
	}
	tokens, err := oauthclient.New(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	out := &connector.SendConnector{
		Name: "google", AddressSpaces: connector.AllDomains(),
		NextHop: connector.NextHop{
			Hosts: []string{"smtp.gmail.com:587"},
			TLS:   connector.TLSDomainValidation, TLSDomain: "smtp.gmail.com",
			Username: "shop@example.com", // who has consented
			Tokens:   tokens,
		},
	}
	fmt.Println(out.Validate())
	// Output: <nil>
}

func ExampleGoogleServiceAccount() {
	key, err := os.ReadFile("no-such-key.json")
	if err != nil {
		fmt.Println("no key")
		return
	}
	cfg, err := oauthclient.GoogleServiceAccount(key, "shop@example.com")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(oauthclient.New(cfg))
	// Output: no key
}

func ExampleNew() {
	tokens, err := oauthclient.New(oauthclient.Config{
		TokenURL: "https://login.example.com/oauth/token",
		ClientID: "shop", ClientSecret: "secret", Scopes: []string{"smtp.send"},
		SecretInHeader: true,
	})
	fmt.Println(tokens, err)
	// Output: shop at https://login.example.com/oauth/token <nil>
}
