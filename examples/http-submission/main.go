// Command http-submission takes mail from users over HTTPS, for applications
// that would rather post JSON than speak SMTP. Who may send, as whom, and how
// much is what the submission connector says, which takes mail over SMTP as
// well.
//
//	htpasswd -cB users.htpasswd app@example.com
//	go run ./examples/http-submission -users users.htpasswd \
//	    -certificate cert.pem -key key.pem
//	curl --cacert cert.pem -u app@example.com https://localhost:8443/messages \
//	    -H 'Content-Type: application/json' \
//	    -d '{"from":"app@example.com","to":["somebody@example.net"],
//	         "subject":"hello","text":"Hello.\n"}'
//
// An application that repeats a request for want of an answer sends each
// message with an Idempotency-Key of its own, as with -H "Idempotency-Key:
// $(uuidgen)": the same key again sends nothing again, and with another message
// it is refused.
//
// With -token-for app@example.com it prints a token that does instead of a
// password: curl --oauth2-bearer token. Files of users and certificates that
// are replaced count within a second, for HTTPS and SMTP alike.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io/fs"
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
	"github.com/postern-mail/postern/relay/httpapi"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

type options struct {
	smtp                                               netip.AddrPort
	http, users, tokenFor, certificate, key, smartHost string
}

func main() {
	var o options
	flag.StringVar(&o.http, "http", "127.0.0.1:8443", "`address` for HTTPS")
	flag.TextVar(
		&o.smtp, "smtp", netip.MustParseAddrPort("127.0.0.1:2587"), "`address` and port for SMTP",
	)
	flag.StringVar(&o.users, "users", "users.htpasswd", "htpasswd `file` of the users, with bcrypt")
	flag.StringVar(
		&o.tokenFor, "token-for", "",
		"`address` to print a bearer token for, which may send as that address while the "+
			"program runs",
	)
	flag.StringVar(&o.certificate, "certificate", "cert.pem", "certificate `file`")
	flag.StringVar(&o.key, "key", "key.pem", "private key `file`")
	flag.StringVar(&o.smartHost, "smart-host", "127.0.0.1:2602", "`host:port` that takes the mail")
	dir := flag.String("spool", "spool-http-submission", "`directory` of the queue")
	flag.Parse()

	if err := run(o, *dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(os.Stderr, "examples/README.md tells how to make the files")
		}
		os.Exit(1)
	}
}

func run(o options, dir string) error {
	keys := auth.NewKeyring(new(auth.MemoryCredentials), &auth.KeyringOptions{
		OnError: func(err error) { slog.Warn("use of a token", "error", err) },
	})
	cfg, err := config(keys, o)
	if err != nil {
		return err
	}
	store, err := filespool.Open(dir, &filespool.Options{Logger: slog.Default()})
	if err != nil {
		return err
	}
	defer store.Close()
	cfg.Spool = store
	r, server, err := newServer(cfg)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.http)
	if err != nil {
		return fmt.Errorf("-http: %w", err)
	}
	defer l.Close()
	if o.tokenFor != "" {
		token, _, err := keys.Issue(context.Background(), auth.Credential{Owner: o.tokenFor})
		if err != nil {
			return fmt.Errorf("-token-for: %w", err)
		}
		fmt.Println(token)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	failed := make(chan error, 1)
	go func() {
		defer stop() // one does not go on without the other
		failed <- server.ServeTLS(l, "", "")
	}()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = server.Shutdown(drain) // what did not end in time is ended by Close
		_ = server.Close()
	}()
	err = r.Run(ctx)
	stop()
	<-drained // before the queue is closed
	if e := <-failed; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

func config(keys *auth.Keyring, o options) (relay.Config, error) {
	certificates, err1 := relay.LoadCertificates(
		slog.Default(), relay.CertificateFiles{Certificate: o.certificate, Key: o.key},
	)
	users, err2 := auth.OpenHtpasswd(o.users, &auth.HtpasswdOptions{OnReloadError: func(err error) {
		slog.Error("the users read last stay", "error", err)
	}})
	if err := errors.Join(err1, err2); err != nil {
		return relay.Config{}, err
	}
	submission := connector.Submission("submission")
	submission.Bindings = []netip.AddrPort{o.smtp}
	submission.Limits.MessageRate = 600 // a minute and user, however they come

	return relay.Config{
		Hostname:   "relay.example.com",
		Connectors: []*connector.Connector{submission},
		TLS: &tls.Config{
			GetCertificate: certificates.GetCertificate, MinVersion: tls.VersionTLS12,
		},
		Auth: &auth.Server{
			Passwords: users,
			Tokens:    keys, // Authorization: Bearer, and OAUTHBEARER over SMTP
			Throttle:  auth.NewThrottle(nil),
		},
		Quota: keys,
		SendConnectors: []*connector.SendConnector{{
			Name:          "out",
			AddressSpaces: connector.AllDomains(),
			NextHop:       connector.NextHop{Hosts: []string{o.smartHost}},
		}},
		Logger: slog.Default(),
	}, nil
}

func newServer(cfg relay.Config) (*relay.Relay, *http.Server, error) {
	r, err := relay.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	messages, err := httpapi.New(
		httpapi.Config{Relay: r, Connector: "submission", Logger: slog.Default()},
	)
	if err != nil {
		return nil, nil, err
	}
	return r, &http.Server{
		Handler:           messages,
		TLSConfig:         cfg.TLS, // the same certificates
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       5 * time.Minute, // lets the largest message in
		WriteTimeout:      6 * time.Minute,
		IdleTimeout:       time.Minute,
	}, nil
}
