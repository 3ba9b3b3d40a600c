// Command oauth takes mail from users whose mail programs and applications show
// a token of the organization's OpenID Connect provider (OAUTHBEARER, XOAUTH2).
// There are no passwords here.
//
//	go run ./examples/oauth -issuer https://login.example.com -audience mail -certificate cert.pem -key key.pem
//
// Without -issuer it makes tokens itself, for a demonstration on this host: it
// prints one, and how to send with it.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/oidcauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

type options struct {
	listen                                        netip.AddrPort
	issuer, audience, certificate, key, smartHost string
}

func main() {
	var o options
	flag.TextVar(
		&o.listen, "listen", netip.MustParseAddrPort("127.0.0.1:2587"),
		"`address` and port to listen on",
	)
	flag.StringVar(&o.issuer, "issuer", "", "`address` of the provider; a demonstration if empty")
	flag.StringVar(&o.audience, "audience", "mail", "`name` of this service at the provider")
	flag.StringVar(&o.certificate, "certificate", "cert.pem", "certificate `file`")
	flag.StringVar(&o.key, "key", "key.pem", "private key `file`")
	flag.StringVar(&o.smartHost, "smart-host", "127.0.0.1:2602", "`host:port` that takes the mail")
	dir := flag.String("spool", "spool-oauth", "`directory` of the queue")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := run(ctx, os.Stdout, o, *dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(os.Stderr, "examples/README.md tells how to make the files")
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, o options, dir string) error {
	var demo *issuer
	if o.issuer == "" {
		if !o.listen.Addr().IsLoopback() {
			return errors.New("-issuer: required, for -listen is no loopback address")
		}
		var err error
		if demo, err = startIssuer(ctx); err != nil {
			return err
		}
		o.issuer = demo.address
	}
	cfg, err := config(o)
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
	if err := r.Listen(); err != nil {
		return err
	}
	if demo != nil {
		// The certificate is for localhost, as those are that
		// examples/README.md tells how to make.
		fmt.Fprintf(out, "printf 'Subject: hello\\r\\n\\r\\nHello.\\r\\n' | curl --ssl-reqd "+
			"--cacert %s smtp://localhost:%d \\\n"+
			"\t--login-options AUTH=OAUTHBEARER --user anna@example.com --mail-from "+
			"anna@example.com --mail-rcpt bob@example.net \\\n"+
			"\t--upload-file - --oauth2-bearer %s\n",
			o.certificate, r.Addrs("submission")[0].Port(), demo.token(
				o.audience, "anna@example.com",
			))
	}
	return r.Run(ctx)
}

func config(o options) (relay.Config, error) {
	certificates, err1 := relay.LoadCertificates(
		slog.Default(), relay.CertificateFiles{Certificate: o.certificate, Key: o.key},
	)
	// A user is the address in the claim "email", which the provider has
	// verified.
	tokens, err2 := oidcauth.New(oidcauth.Config{Issuer: o.issuer, Audience: o.audience})
	if err := errors.Join(err1, err2); err != nil {
		return relay.Config{}, err
	}
	submission := connector.Submission("submission")
	submission.Bindings = []netip.AddrPort{o.listen}

	return relay.Config{
		Hostname:   "relay.example.com",
		Connectors: []*connector.Connector{submission},
		TLS: &tls.Config{
			GetCertificate: certificates.GetCertificate, MinVersion: tls.VersionTLS12,
		},
		Auth: &auth.Server{
			Tokens: tokens,
			// Tells clients where to get a token.
			OpenIDConfiguration: strings.TrimSuffix(
				o.issuer, "/",
			) + "/.well-known/openid-configuration",
			Throttle: auth.NewThrottle(nil),
		},
		SendConnectors: []*connector.SendConnector{{
			Name:          "out",
			AddressSpaces: connector.AllDomains(),
			NextHop:       connector.NextHop{Hosts: []string{o.smartHost}},
		}},
		Logger: slog.Default(),
	}, nil
}
