// Command acme takes mail from users who log on inside TLS, with a certificate
// that it gets and renews by itself from Let's Encrypt or another authority
// that speaks ACME, by autocert or by certmagic.
//
//	htpasswd -cB users.htpasswd app@example.com
//	go run ./examples/acme -domain relay.example.com -users users.htpasswd \
//	    -with certmagic
//
// It asks Let's Encrypt's staging service, whose certificates no client trusts,
// until -directory names another: when all works, -directory
// https://acme-v02.api.letsencrypt.org/directory. Each authority's certificates
// are kept apart.
//
// The authority asks on port 80 of the domain, so requests for that have to
// arrive at -http. A web application that listens there already adds the
// handler of the challenges to its own.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

type options struct {
	listen                 netip.AddrPort
	users, smartHost, with string

	authority authority
}

func main() {
	var o options
	flag.TextVar(
		&o.listen, "listen", netip.MustParseAddrPort("127.0.0.1:2587"),
		"`address` and port to listen on",
	)
	flag.StringVar(&o.users, "users", "users.htpasswd", "htpasswd `file` of the users, with bcrypt")
	flag.StringVar(&o.smartHost, "smart-host", "127.0.0.1:2602", "`host:port` that takes the mail")
	flag.StringVar(
		&o.with, "with", "autocert", "`package` that gets the certificate: autocert or certmagic",
	)
	flag.StringVar(
		&o.authority.domain, "domain", "", "`name` of this host, which the certificate is for",
	)
	flag.StringVar(&o.authority.directory, "directory", "https://acme-staging-v02.api.letsencrypt.org/directory",
		"`address` of the authority; Let's Encrypt's without \"-staging\" issues what "+
			"clients trust")
	flag.StringVar(
		&o.authority.cache, "cache", "certificates", "`directory` of keys and certificates",
	)
	flag.StringVar(
		&o.authority.listen, "http", "127.0.0.1:2580", "`address` for the authority's challenges",
	)
	dir := flag.String("spool", "spool-acme", "`directory` of the queue")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := run(ctx, o, *dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, dir string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := net.Listen("tcp", o.authority.listen)
	if err != nil {
		return fmt.Errorf("-http: %w", err)
	}
	defer l.Close()
	cfg, err := config(ctx, l, o)
	if err != nil {
		return err
	}
	store, err := filespool.Open(dir, &filespool.Options{Logger: slog.Default()})
	if err != nil {
		return err
	}
	defer store.Close()
	cfg.Spool = store
	r, err := relay.New(cfg)
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// config also answers challenges on l until ctx ends.
func config(ctx context.Context, l net.Listener, o options) (relay.Config, error) {
	var err1 error
	if o.authority.domain == "" {
		err1 = errors.New("-domain: required")
	}
	users, err2 := auth.OpenHtpasswd(o.users, &auth.HtpasswdOptions{OnReloadError: func(err error) {
		slog.Error("the users read last stay", "error", err)
	}})
	if err := errors.Join(err1, err2); err != nil {
		return relay.Config{}, err
	}
	o.authority.listen = l.Addr().String()
	get, challenges, err := certificates(ctx, o.with, o.authority)
	if err != nil {
		return relay.Config{}, err
	}
	server := &http.Server{
		Handler: challenges, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute,
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("no certificate can be renewed any more", "error", err)
		}
	}()
	submission := connector.Submission("submission")
	submission.Bindings = []netip.AddrPort{o.listen}

	return relay.Config{
		Hostname:   o.authority.domain,
		Connectors: []*connector.Connector{submission},
		TLS:        &tls.Config{GetCertificate: get, MinVersion: tls.VersionTLS12},
		Auth: &auth.Server{
			Passwords: users, Throttle: auth.NewThrottle(nil),
		},
		SendConnectors: []*connector.SendConnector{{
			Name:          "out",
			AddressSpaces: connector.AllDomains(),
			NextHop:       connector.NextHop{Hosts: []string{o.smartHost}},
		}},
		Logger: slog.Default(),
	}, nil
}
