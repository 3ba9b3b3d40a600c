// Command submission takes mail from users who log on inside TLS, and from
// their applications, which have tokens of their own. A user sends as its own
// address, an application as those it was given, to anybody, and the mail
// leaves through a smart host. Users and applications are kept in an SQLite
// database:
//
//	submission -add-user anna@example.com < password.txt
//	submission -issue anna@example.com -label shop -as shop@example.com
//	submission -certificate cert.pem -key key.pem
//	submission -revoke ID
//	submission -remove-user anna@example.com
//
// The second prints a token, this once; its ID is what it begins with, up to
// the _. A user goes with all of its tokens.
//
// The user's password, or the token in its place, goes with the user's name, in
// which capitals do not matter. Changes count at once, while the program runs
// and for sessions that go on: each message looks the user and the token up.
// Whoever puts an [auth.Cache] before the database has to call its Forget for a
// user who is removed, or give it a short TTL.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

type options struct {
	listen                      netip.AddrPort
	certificate, key, smartHost string
}

func main() {
	var o options
	flag.TextVar(
		&o.listen, "listen", netip.MustParseAddrPort("127.0.0.1:2587"),
		"`address` and port to listen on",
	)
	flag.StringVar(&o.certificate, "certificate", "cert.pem", "certificate `file`")
	flag.StringVar(&o.key, "key", "key.pem", "private key `file`")
	flag.StringVar(&o.smartHost, "smart-host", "127.0.0.1:2602", "`host:port` that takes the mail")
	dir := flag.String("spool", "spool-submission", "`directory` of the queue")
	database := flag.String("database", "users.db", "SQLite `file` of the users and applications")
	add := flag.String(
		"add-user", "",
		"`address` of a user to add or to give another password, which is read from standard input",
	)
	remove := flag.String(
		"remove-user", "", "`address` of a user to remove, with all of its tokens",
	)
	issue := flag.String("issue", "", "`user` to issue a token to")
	label := flag.String("label", "", "`name` of the application that the token is for")
	as := flag.String(
		"as", "",
		"`addresses` it may send as, separated by commas; *@example.com is all of a domain",
	)
	revoke := flag.String("revoke", "", "`ID` of a token to take back, or the token")
	flag.Parse()

	err := func() error {
		todo, err := command(flag.CommandLine)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends it at once
		u, err := openUsers(ctx, *database)
		if err != nil {
			return err
		}
		defer u.db.Close()
		switch todo {
		case "add-user":
			password, _ := bufio.NewReader(os.Stdin).ReadString('\n')
			return u.add(ctx, *add, strings.TrimRight(password, "\r\n"))
		case "remove-user":
			return u.remove(ctx, *remove)
		case "issue":
			// An application that has run wild does little harm.
			app := auth.Credential{Owner: *issue, Label: *label, PerMinute: 60, PerDay: 5000}
			app.Senders = strings.FieldsFunc(*as, func(r rune) bool { return r == ',' || r == ' ' })
			token, _, err := u.issue(ctx, app)
			if err == nil {
				fmt.Println(token)
			}
			return err
		case "revoke":
			return u.revoke(ctx, *revoke)
		}
		return run(ctx, u, o, *dir)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(os.Stderr, "examples/README.md tells how to make the files")
		}
		os.Exit(1)
	}
}

// command returns the flag that tells what to do, or "" to take mail.
func command(flags *flag.FlagSet) (string, error) {
	var commands, details []string
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "add-user", "remove-user", "issue", "revoke":
			commands = append(commands, f.Name)
		case "label", "as":
			details = append(details, f.Name)
		}
	})
	switch todo := strings.Join(commands, ", -"); {
	case flags.NArg() > 0:
		return "", fmt.Errorf("%q is no flag", flags.Arg(0))
	case len(commands) > 1:
		return "", fmt.Errorf("one at a time, please: -%s", todo)
	case len(details) > 0 && todo != "issue":
		return "", fmt.Errorf("-%s: only with -issue", details[0])
	default:
		return todo, nil
	}
}

func run(ctx context.Context, u *users, o options, dir string) error {
	cfg, err := config(u, o)
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

func config(u *users, o options) (relay.Config, error) {
	certificates, err := relay.LoadCertificates(
		slog.Default(), relay.CertificateFiles{Certificate: o.certificate, Key: o.key},
	)
	if err != nil {
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
		Auth:  &auth.Server{Passwords: u, Throttle: auth.NewThrottle(nil)},
		Quota: u,
		SendConnectors: []*connector.SendConnector{{
			Name:          "out",
			AddressSpaces: connector.AllDomains(),
			NextHop:       connector.NextHop{Hosts: []string{o.smartHost}},
		}},
		Logger: slog.Default(),
	}, nil
}
