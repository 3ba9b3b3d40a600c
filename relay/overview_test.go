package relay_test

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
)

type noToken struct{}

func (noToken) Token(context.Context, string) (string, error) { return "", errors.New("none") }

func TestSendConnectors(t *testing.T) {
	cfg, _ := config()
	out := &connector.SendConnector{
		Name: "out", AddressSpaces: connector.AllDomains(),
		NextHop: connector.NextHop{
			Hosts:    []string{"smtp.example.net"},
			Username: "relay", Password: "secret", AllowUnverifiedAuth: true,
			Certificates: []tls.Certificate{{Certificate: [][]byte{{1}}, PrivateKey: "secret"}},
		},
	}
	off := &connector.SendConnector{
		Name: "off", AddressSpaces: []connector.AddressSpace{{Domain: "example.net"}},
		Disabled: true,
	}
	oauth := &connector.SendConnector{
		Name: "oauth", AddressSpaces: []connector.AddressSpace{{Domain: "example.org"}},
		NextHop: connector.NextHop{
			Hosts:    []string{"smtp.example.org"},
			Username: "relay", Tokens: noToken{}, AllowUnverifiedAuth: true,
		},
	}
	cfg.SendConnectors, cfg.Transport = []*connector.SendConnector{off, out, oauth}, nil
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list := r.SendConnectors()
	if len(list) != 2 || list[0].Name != "out" || list[0].Username != "relay" ||
		list[0].Password != "" {
		t.Fatalf("%v", list)
	}
	if list[0].Certificates != nil {
		t.Error("the copy has private keys")
	}
	if list[1].Username != "relay" || list[1].Tokens != nil {
		t.Errorf("%+v: the copy can make tokens", list[1])
	}
	list[0].Hosts[0], list[0].AddressSpaces[0].Domain = "changed", "changed"
	if again := r.SendConnectors()[0]; out.Password != "secret" ||
		again.Hosts[0] != "smtp.example.net" || again.AddressSpaces[0].Domain != "*" {
		t.Error("a change of the copy changes the relay's own")
	}
}
