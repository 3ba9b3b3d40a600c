package relay_test

import (
	"context"
	"crypto/x509"
	"net/netip"
	"slices"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func TestWhatARelayTellsOfItself(t *testing.T) {
	off := bind(connector.FromInternet("off"), "127.0.0.1")
	off.Disabled = true
	cfg := relay.Config{
		Hostname: "relay.example.test",
		Spool:    memspool.New(nil),
		Connectors: []*connector.Connector{
			off, bind(connector.FromInternet("mx"), "127.0.0.1"),
		},
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "*.example.test", Type: domains.ExternalRelay},
		},
		Transport: delivery.Maildir("mail"),
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	list := r.Connectors()
	if len(list) != 1 || list[0].Name != "mx" || list[0].Bindings[0] != r.Addrs("mx")[0] ||
		list[0].Bindings[0].Port() == 0 {
		t.Errorf("connectors %+v", list)
	}
	list[0].Bindings[0], list[0].Name = netip.AddrPort{}, "changed"
	if own := r.Connectors()[0]; own.Name != "mx" || !own.Bindings[0].IsValid() {
		t.Error("a caller changed the relay's connector")
	}
	if _, ok := r.AcceptedDomains().Lookup("a.example.test"); !ok ||
		r.Hostname() != "relay.example.test" || r.OffersTLS() {
		t.Errorf("domain %v, host %s, TLS %v", ok, r.Hostname(), r.OffersTLS())
	}
	cfg.TLS, cfg.Connectors = certificate(t), nil
	if err := r.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if len(r.Connectors()) != 0 || !r.OffersTLS() {
		t.Errorf("after a reload: %+v, TLS %v", r.Connectors(), r.OffersTLS())
	}
}

// TestMechanisms asks which mechanisms users are offered on connectors of all
// kinds.
func TestMechanisms(t *testing.T) {
	nobody := auth.VerifierFunc(func(context.Context, auth.Proof) (*auth.Identity, error) {
		return nil, auth.ErrBadCredentials
	})
	keys := auth.SCRAMStoreFunc(func(
		context.Context, auth.Proof,
	) (string, *auth.Identity, error) {
		return "", nil, auth.ErrBadCredentials
	})
	servers := bind(connector.Submission("servers"), "127.0.0.1")
	servers.AuthMechanisms = connector.TLS | connector.ExchangeServer
	plain := bind(connector.Submission("plain"), "127.0.0.1")
	plain.AuthMechanisms = connector.BasicAuth
	for _, c := range []struct {
		auth *auth.Server
		want []auth.Mechanism
	}{
		{&auth.Server{Passwords: nobody}, []auth.Mechanism{auth.Plain, auth.Login}},
		{&auth.Server{Tokens: nobody}, []auth.Mechanism{auth.OAuthBearer, auth.XOAuth2}},
		{&auth.Server{SCRAM: keys}, []auth.Mechanism{auth.ScramSHA256}},
		{&auth.Server{Certificates: nobody}, []auth.Mechanism{auth.External}},
		{
			&auth.Server{Passwords: nobody, Tokens: nobody, SCRAM: keys, Certificates: nobody},
			[]auth.Mechanism{
				auth.External, auth.ScramSHA256, auth.OAuthBearer, auth.XOAuth2, auth.Plain,
				auth.Login,
			},
		},
	} {
		cfg := relay.Config{
			Hostname: "relay.example.test", Spool: memspool.New(nil), Auth: c.auth,
			TLS:       certificate(t),
			Transport: delivery.Maildir("mail"),
			Connectors: []*connector.Connector{
				bind(connector.Submission("users"), "127.0.0.1"), servers, plain,
				bind(connector.FromInternet("mx"), "127.0.0.1"),
			},
		}
		cfg.TLS.ClientCAs = x509.NewCertPool()
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got := r.Mechanisms("users"); !slices.Equal(got, c.want) {
			t.Errorf("%v, want %v", got, c.want)
		}
		for _, name := range []string{"servers", "plain", "mx", "none"} {
			if got := r.Mechanisms(name); got != nil {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
}
