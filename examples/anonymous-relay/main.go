// Command anonymous-relay lets listed hosts send to anybody without a password
// and hands their mail to a smart host. Everybody else is turned away before
// the banner.
//
//	go run ./examples/anonymous-relay -allow 127.0.0.1,192.0.2.0/24 \
//	    -smart-host mail.example.com:25
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
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:2525", "`address` to listen on")
	allow := flag.String(
		"allow", "127.0.0.1", "hosts that may relay: `ranges`, separated by commas",
	)
	smartHost := flag.String("smart-host", "127.0.0.1:2602", "`host:port` that takes the mail")
	dir := flag.String("spool", "spool-anonymous-relay", "`directory` of the queue")
	flag.Parse()

	if err := run(*listen, *allow, *smartHost, *dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(listen, allow, smartHost, dir string) error {
	store, err := filespool.Open(dir, &filespool.Options{Logger: slog.Default()})
	if err != nil {
		return err
	}
	defer store.Close()
	r, err := newRelay(store, listen, allow, smartHost)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return r.Run(ctx)
}

func newRelay(store spool.Store, listen, allow, smartHost string) (*relay.Relay, error) {
	binding, err := netip.ParseAddrPort(listen)
	if err != nil {
		return nil, err
	}
	var ranges []connector.Range
	for _, s := range strings.Split(allow, ",") {
		r, err := connector.ParseRange(s)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, r)
	}
	apps := connector.AnonymousRelay("apps", ranges...)
	apps.Bindings = []netip.AddrPort{binding}

	return relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      store,
		Connectors: []*connector.Connector{apps},
		SendConnectors: []*connector.SendConnector{{
			Name:          "out",
			AddressSpaces: connector.AllDomains(),
			NextHop:       connector.NextHop{Hosts: []string{smartHost}},
		}},
		Logger: slog.Default(),
	})
}
