// Command accepted-domains receives mail for two domains from anybody. It knows
// every recipient of example.com and refuses the others. In example.org it
// knows some; mail for the others is passed on to the system that had the
// domain before. It relays to nowhere else.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:2525", "`address` to listen on")
	maildir := flag.String("maildir", "mail", "`directory` of the mailboxes")
	other := flag.String(
		"other", "127.0.0.1:2602", "`host:port` of the other system for example.org",
	)
	dir := flag.String("spool", "spool-accepted-domains", "`directory` of the queue")
	flag.Parse()

	if err := run(*listen, *maildir, *other, *dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(listen, maildir, other, dir string) error {
	store, err := filespool.Open(dir, &filespool.Options{Logger: slog.Default()})
	if err != nil {
		return err
	}
	defer store.Close()
	r, err := newRelay(store, listen, maildir, other)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return r.Run(ctx)
}

func newRelay(store spool.Store, listen, maildir, other string) (*relay.Relay, error) {
	binding, err := netip.ParseAddrPort(listen)
	if err != nil {
		return nil, err
	}
	internet := connector.New("internet", connector.Internet)
	internet.Bindings = []netip.AddrPort{binding}

	return relay.New(relay.Config{
		Hostname:   "mx.example.com",
		Spool:      store,
		Connectors: []*connector.Connector{internet},
		AcceptedDomains: []domains.AcceptedDomain{{
			Domain: "example.com", Type: domains.Authoritative,
			// An application asks its database here; an error makes a temporary
			// reply.
			Recipients: domains.ResolverFunc(func(
				_ context.Context, a domains.Address,
			) (bool, error) {
				return strings.EqualFold(a.Local(), "alice") ||
					strings.EqualFold(a.Local(), "bob"), nil
			}),
		}, {
			Domain: "example.org", Type: domains.InternalRelay,
			Recipients: domains.StaticRecipients("carol"),
		}},
		Mailboxes: delivery.Maildir(maildir),
		SendConnectors: []*connector.SendConnector{{
			Name:          "other",
			AddressSpaces: []connector.AddressSpace{{Domain: "example.org"}},
			NextHop:       connector.NextHop{Hosts: []string{other}},
		}},
		Logger: slog.Default(),
	})
}
