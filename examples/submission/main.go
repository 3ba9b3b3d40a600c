// Command submission takes mail from users who log on with a password inside TLS. A user sends
// as its own address, to anybody, and the mail leaves through a smart host.
//
//	htpasswd -cB users.htpasswd app@example.com
//	go run ./examples/submission -users users.htpasswd -certificate cert.pem -key key.pem
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

type options struct {
	listen, users, certificate, key, smartHost string
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:2587", "`address` to listen on")
	flag.StringVar(&o.users, "users", "users.htpasswd", "htpasswd `file` of the users, with bcrypt")
	flag.StringVar(&o.certificate, "certificate", "cert.pem", "certificate `file`")
	flag.StringVar(&o.key, "key", "key.pem", "private key `file`")
	flag.StringVar(&o.smartHost, "smart-host", "127.0.0.1:2602", "`host:port` that takes the mail")
	dir := flag.String("spool", "spool", "`directory` of the queue")
	flag.Parse()

	if err := run(o, *dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(o options, dir string) error {
	store, err := filespool.Open(dir, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	r, err := newRelay(store, o)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return r.Run(ctx)
}

func newRelay(store spool.Store, o options) (*relay.Relay, error) {
	binding, err := netip.ParseAddrPort(o.listen)
	if err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(o.certificate, o.key)
	if err != nil {
		return nil, err
	}
	users, err := auth.OpenHtpasswd(o.users)
	if err != nil {
		return nil, err
	}
	submission := connector.Submission("submission")
	submission.Bindings = []netip.AddrPort{binding}

	return relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      store,
		Connectors: []*connector.Connector{submission},
		TLS:        &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		Verifier:   users,
		SendConnectors: []*connector.SendConnector{{
			Name:          "out",
			AddressSpaces: []connector.AddressSpace{{Domain: "*"}},
			SmartHosts:    []string{o.smartHost},
		}},
		Logger: slog.Default(),
	})
}
