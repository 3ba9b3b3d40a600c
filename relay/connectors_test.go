package relay_test

import (
	"net/netip"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func TestWhatARelayTellsOfItself(t *testing.T) {
	off := bind(connector.FromInternet("off"), "127.0.0.1")
	off.Disabled = true
	cfg := relay.Config{
		Hostname:        "relay.example.test",
		Spool:           memspool.New(nil),
		Connectors:      []*connector.Connector{off, bind(connector.FromInternet("mx"), "127.0.0.1")},
		AcceptedDomains: []domains.AcceptedDomain{{Domain: "*.example.test", Type: domains.ExternalRelay}},
		Transport:       relay.Mailbox(nil),
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
	if len(list) != 1 || list[0].Name != "mx" || list[0].Bindings[0] != r.Addrs("mx")[0] || list[0].Bindings[0].Port() == 0 {
		t.Errorf("connectors %+v", list)
	}
	list[0].Bindings[0], list[0].Name = netip.AddrPort{}, "changed"
	if own := r.Connectors()[0]; own.Name != "mx" || !own.Bindings[0].IsValid() {
		t.Error("a caller changed the relay's connector")
	}
	if _, ok := r.AcceptedDomains().Lookup("a.example.test"); !ok || r.Hostname() != "relay.example.test" || r.OffersTLS() {
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
