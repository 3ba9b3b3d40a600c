package smtpd_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// storedKeys are those of the password "secret".
var storedKeys = sync.OnceValue(func() string {
	keys, err := auth.NewSCRAMKeys("secret")
	if err != nil {
		panic(err)
	}
	return keys
})

// people knows "alice" and "server" by every mechanism. Their password and
// token is "secret".
func people() *auth.Server {
	identity := func(user string) *auth.Identity {
		return &auth.Identity{User: user, Server: user == "server"}
	}
	known := func(user string) bool { return user == "alice" || user == "server" }
	return &auth.Server{
		Passwords: auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			if !known(c.Username) || c.Password != "secret" {
				return nil, auth.ErrBadCredentials
			}
			return identity(c.Username), nil
		}),
		SCRAM: auth.SCRAMStoreFunc(func(
			_ context.Context, c auth.Proof,
		) (string, *auth.Identity, error) {
			if !known(c.Username) {
				return "", nil, auth.ErrBadCredentials
			}
			return storedKeys(), identity(c.Username), nil
		}),
		Tokens: auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			if len(c.Token) < 6 || c.Token[:6] != "secret" {
				return nil, auth.ErrBadCredentials
			}
			return identity("alice"), nil
		}),
		TokenScope: strings.Repeat("mail.send ", 200),
		Certificates: auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			user, _, _ := strings.Cut(c.TLS.VerifiedChains[0][0].DNSNames[0], ".")
			if c.Username != "" && c.Username != user {
				return nil, auth.ErrBadCredentials
			}
			return identity(user), nil
		}),
	}
}

// submission is a connector where users log on inside TLS.
func submission() *connector.Connector {
	c := open()
	c.PermissionGroups = connector.ExchangeUsers
	c.Limits.MaxLogonFailures, c.Limits.MaxProtocolErrors = -1, -1
	return c
}

// saslRig is a server that knows people.
func saslRig(t *testing.T, c *connector.Connector, f func(t *testing.T, r *rig)) {
	t.Helper()
	storedKeys()
	authority()
	bubbleWith(t, func(cfg *smtpd.Config) {
		cfg.Settings.Auth = bounded(people())
		cfg.Settings.TLS.ClientCAs = authority().pool
	}, f, c)
}

// inside begins a session and goes on inside TLS, with a certificate if there
// is one.
func (r *rig) inside(from string, cert *tls.Certificate) *client {
	r.t.Helper()
	p := r.dial(from)
	p.Expect("220 *")
	p.Say("STARTTLS")
	p.Expect("220 *")
	p.Sent()
	cfg := clientTLS()
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	p.Handshake(cfg)
	p.EHLO()
	return p
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// responder is a client's side of a mechanism: it answers challenges.
type responder func(challenge string) (response string, err error)

// fixed says the same whatever the server says.
func fixed(responses ...string) responder {
	return func(string) (string, error) {
		if len(responses) == 0 {
			return "", errors.New("nothing more to say")
		}
		r := responses[0]
		responses = responses[1:]
		return r, nil
	}
}

// cancel stands for the line "*".
const cancel = "*"

// logOn runs a mechanism and returns the last reply and all challenges. Without
// initial the first response answers an empty challenge.
func (p *client) logOn(
	mechanism string, initial bool, d responder,
) (reply string, challenges []string) {
	p.t.Helper()
	say := func(prefix, challenge string) {
		response, err := d(challenge)
		switch {
		case err != nil:
			p.t.Fatalf("%s: after %q: %v", mechanism, challenge, err)
		case response == cancel:
			p.Say(prefix + cancel)
		case response == "" && prefix != "":
			p.Say(prefix + "=")
		default:
			p.Say(prefix + b64(response))
		}
	}
	if initial {
		say("AUTH "+mechanism+" ", "")
	} else {
		p.Say("AUTH " + mechanism)
	}
	for {
		line, err := p.Line()
		if err != nil {
			p.t.Fatal(err)
		}
		encoded, ok := strings.CutPrefix(line, "334 ")
		if !ok {
			return line, challenges
		}
		challenge, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			p.t.Fatalf("%s: %q: %v", mechanism, line, err)
		}
		challenges = append(challenges, string(challenge))
		say("", string(challenge))
	}
}

// scramClient is another implementation's client.
func scramClient(
	t testing.TB, user, password string, begin func(*scram.Client) *scram.ClientConversation,
) responder {
	t.Helper()
	c, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	conversation := begin(c)
	return func(challenge string) (string, error) {
		if conversation.Done() {
			return "", errors.New("the exchange has ended")
		}
		return conversation.Step(challenge)
	}
}

func unbound(c *scram.Client) *scram.ClientConversation { return c.NewConversation() }

// bound binds the logon to the TLS connection of p, or to what else is given.
func bound(
	t testing.TB, kind scram.ChannelBindingType, state tls.ConnectionState, damage bool,
) func(*scram.Client) *scram.ClientConversation {
	t.Helper()
	var cb scram.ChannelBinding
	var err error
	if kind == scram.ChannelBindingTLSExporter {
		cb, err = scram.NewTLSExporterBinding(&state)
	} else {
		cb, err = scram.NewTLSServerEndpointBinding(&state)
	}
	if err != nil {
		t.Fatal(err)
	}
	if damage {
		cb.Data = bytes.Clone(cb.Data)
		cb.Data[0] ^= 1
	}
	return func(c *scram.Client) *scram.ClientConversation {
		return c.NewConversationWithChannelBinding(cb)
	}
}

func (r *rig) settingsConnector() *connector.Connector {
	c, _ := r.settings.Connectors.Match(
		netip.MustParseAddrPort("192.0.2.1:25"), netip.MustParseAddr("192.0.2.7"),
	)
	return c
}
