package connector_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/postern-mail/postern/connector"
)

// key gives tokens that somebody else writes to a file.
type key string

func (k key) Token(_ context.Context, refused string) (string, error) {
	text, err := os.ReadFile(string(k))
	if token := strings.TrimSpace(string(text)); err != nil || token != refused {
		return token, err
	}
	return "", errors.New("there is no other token yet")
}

// A source of one's own is asked for each connection, and again when a host has
// refused what it gave. The module auth/oauthclient has sources that ask a
// provider.
func ExampleTokenSource() {
	hop := connector.NextHop{
		Hosts: []string{"smtp.example.net:587"},
		TLS:   connector.TLSDomainValidation, TLSDomain: "smtp.example.net",
		Username: "shop@example.com", Tokens: key("token"),
	}
	fmt.Println(hop.Validate())
	hop.Password = "secret"
	fmt.Println(hop.Validate())
	// Output:
	// <nil>
	// Tokens: there is a Password; set one of them
}

// Microsoft 365 takes mail from an address or a certificate that one of its
// inbound connectors names, without a logon.
func ExampleNextHop_microsoft365Connector() {
	hop := connector.NextHop{
		Hosts: []string{"contoso-example.mail.protection.outlook.com"},
		TLS:   connector.TLSDomainValidation, TLSDomain: "mail.protection.outlook.com",
	}
	fmt.Println(hop.Validate())
	// Output: <nil>
}

// Azure Communication Services take the secret of an Entra application as the
// password.
func ExampleNextHop_azure() {
	hop := connector.NextHop{
		Hosts: []string{"smtp.azurecomm.net:587"},
		TLS:   connector.TLSDomainValidation, TLSDomain: "smtp.azurecomm.net",
		Username: "shop@example.com", // an SMTP Username resource
		Password: "the application's secret",
	}
	fmt.Println(hop.Validate())
	// Output: <nil>
}

// Google's relay takes the mail of a Workspace from addresses that it names.
func ExampleNextHop_googleRelay() {
	hop := connector.NextHop{
		Hosts: []string{"smtp-relay.gmail.com:587"},
		TLS:   connector.TLSDomainValidation, TLSDomain: "smtp-relay.gmail.com",
		FQDN: "relay.example.com", // a name of the Workspace's domain
	}
	fmt.Println(hop.Validate())
	// Output: <nil>
}

func ExampleNextHop_googleAppPassword() {
	hop := connector.NextHop{
		Hosts: []string{"smtp.gmail.com:587"},
		TLS:   connector.TLSDomainValidation, TLSDomain: "smtp.gmail.com",
		Username: "shop@example.com", Password: "the app password",
	}
	fmt.Println(hop.Validate())
	// Output: <nil>
}

func ExampleNextHop_amazonSES() {
	hop := connector.NextHop{
		Hosts: []string{"email-smtp.eu-west-1.amazonaws.com:587"},
		TLS:   connector.TLSDomainValidation, TLSDomain: "email-smtp.eu-west-1.amazonaws.com",
		Username: "the SMTP user name", Password: "the SMTP password",
	}
	fmt.Println(hop.Validate())
	// Output: <nil>
}

func ExampleNextHop_sendGrid() {
	hop := connector.NextHop{
		Hosts: []string{"smtp.sendgrid.net:587"},
		TLS:   connector.TLSDomainValidation, TLSDomain: "smtp.sendgrid.net",
		Username: "apikey", Password: "the API key", // the user is that word
	}
	fmt.Println(hop.Validate())
	// Output: <nil>
}

func ExampleNextHop_mailgun() {
	hop := connector.NextHop{
		Hosts: []string{"smtp.eu.mailgun.org:587"},
		TLS:   connector.TLSDomainValidation, TLSDomain: "smtp.eu.mailgun.org",
		Username: "postmaster@mg.example.com", Password: "the domain's SMTP password",
	}
	fmt.Println(hop.Validate())
	// Output: <nil>
}

func ExampleNextHop_postmark() {
	hop := connector.NextHop{
		Hosts: []string{"smtp.postmarkapp.com:587"},
		TLS:   connector.TLSDomainValidation, TLSDomain: "smtp.postmarkapp.com",
		Username: "the server token", Password: "the server token", // the same twice
	}
	fmt.Println(hop.Validate())
	// Output: <nil>
}

func ExampleNextHop_brevo() {
	hop := connector.NextHop{
		Hosts: []string{"smtp-relay.brevo.com:587"},
		TLS:   connector.TLSDomainValidation, TLSDomain: "smtp-relay.brevo.com",
		Username: "the SMTP login", Password: "the SMTP key",
	}
	fmt.Println(hop.Validate())
	// Output: <nil>
}

// A host of one's own knows the relay by its certificate: in the handshake, or
// by AUTH EXTERNAL where the host offers it.
func ExampleNextHop_clientCertificate() {
	pair, err := tls.LoadX509KeyPair("no-such-cert.pem", "key.pem")
	if os.IsNotExist(err) {
		fmt.Println("no certificate")
		return
	}
	hop := connector.NextHop{
		Hosts: []string{"mail.example.com:587"},
		TLS:   connector.TLSDomainValidation, TLSDomain: "mail.example.com",
		Certificates: []tls.Certificate{pair},
	}
	fmt.Println(hop.Validate())
	// Output: no certificate
}
